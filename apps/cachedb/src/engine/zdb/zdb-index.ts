import { join } from 'node:path'
import { FormatError } from '../../segment/format.ts'
import type { Storage } from '../../segment/storage.ts'
import { decodeDescriptor, type ZdbDescriptor } from '../../segment/zdb/descriptor-format.ts'
import {
  decodeIndexHeader,
  type IndexFileEntry,
  IndexHeader,
  indexEntries,
  slotBytes,
  type ZdbMode,
} from '../../segment/zdb/index-format.ts'

/** What 0-db's index directory of one namespace says. It is read only, and only what is asked for. */
export class ZdbIndex {
  /** null when there is no index file yet. */
  readonly mode: ZdbMode | null
  /** null when there is no descriptor: 0-db's defaults. */
  readonly settings: ZdbDescriptor | null
  readonly #storage: Storage
  readonly #paths: readonly string[]
  /** Per index file, the bytes of its entries. */
  readonly #entriesBytes: readonly number[]

  private constructor(storage: Storage, directory: string) {
    this.#storage = storage
    const paths: string[] = []
    const entriesBytes: number[] = []
    let mode: ZdbMode | null = null
    // As 0-db does: in their order, up to the first that is not there. One without a header was made by a crash.
    for (;;) {
      const path = join(directory, `i${paths.length}`)
      const sizeBytes = storage.sizeBytes(path)
      if (sizeBytes === null || sizeBytes < IndexHeader.sizeBytes) break
      mode = decodeIndexHeader(readBytes(storage, path, IndexHeader.sizeBytes)).mode
      paths.push(path)
      entriesBytes.push(sizeBytes - IndexHeader.sizeBytes)
    }
    this.mode = mode
    this.#paths = paths
    this.#entriesBytes = entriesBytes
    const path = join(directory, 'zdb-namespace')
    const sizeBytes = storage.sizeBytes(path)
    this.settings = sizeBytes === null ? null : decodeDescriptor(readBytes(storage, path, sizeBytes))
  }

  /** null when the index root knows no such namespace.
   *  @throws FormatError, naming the directory */
  static open(storage: Storage, indexRoot: string, name: string): ZdbIndex | null {
    if (!storage.list(indexRoot).some(item => item.isDirectory && item.name === name)) return null
    const directory = join(indexRoot, name)
    try {
      return new ZdbIndex(storage, directory)
    } catch (error) {
      throw error instanceof FormatError ? new FormatError(`${directory}: ${error.message}`) : error
    }
  }

  get fileCount(): number {
    return this.#paths.length
  }

  /** The first id of index file `fileId` of a sequential namespace; of the one behind the last: the next id. null beyond. */
  baseOf(fileId: number): number | null {
    if (this.mode !== 'sequential' || fileId > this.fileCount) return null
    return this.#entriesBytes.slice(0, fileId).reduce((sum, bytes) => sum + Math.floor(bytes / slotBytes), 0)
  }

  /** Whether values were written to this data file. */
  knowsValuesIn(fileId: number): boolean {
    return (this.#entriesBytes[fileId] ?? 0) > 0
  }

  /** Every value of this data file, as it was when it was appended, by offset; `isDead` as it is now. */
  valuesIn(dataId: number): readonly IndexFileEntry[] {
    const paths = this.mode === 'user' ? this.#paths.slice(dataId, dataId + 1) : this.#paths
    const found: IndexFileEntry[] = []
    for (const path of paths) {
      const file = readBytes(this.#storage, path, this.#storage.sizeBytes(path) ?? 0)
      for (const entry of indexEntries(file)) if (entry.dataId === dataId) found.push(entry)
    }
    return found.sort((a, b) => a.offsetBytes - b.offsetBytes)
  }
}

function readBytes(storage: Storage, path: string, lengthBytes: number): Buffer {
  using file = storage.openRead(path)
  return file.readSync(0, lengthBytes)
}
