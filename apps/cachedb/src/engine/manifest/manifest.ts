import { AssertionError } from 'node:assert'
import { basename, dirname } from 'node:path'
import { FormatError } from '../../segment/format.ts'
import {
  decodeManifest,
  encodeDurable,
  encodeManifestHeader,
  encodeRecord,
  type ManifestRecord,
} from '../../segment/manifest-format.ts'
import { type AppendFile, appendWhole, type Storage, StorageError } from '../../segment/storage.ts'
import { cutPath } from '../recovery/cuts.ts'
import { GroupCommit } from '../writer/group-commit.ts'
import { ManifestState } from './manifest-state.ts'

/** A manifest is written anew when it is this long and mostly history: 64 KiB are read in well under a millisecond. */
const rewriteBytesMin = 64 * 1024
const rewriteRatio = 4

/** The manifest file of one namespace: what must be true of its segments after a crash. Records are appended to the kernel at
 *  once and are durable after `sync`. */
export class Manifest implements Disposable {
  readonly path: string
  readonly state: ManifestState
  readonly #storage: Storage
  /** Of the file's header: seeds the checksums. */
  #fileIncarnation: Buffer
  #file: AppendFile
  /** Bytes of the file when it was last written as a whole. */
  #rewrittenBytes: number
  /** Bytes of the file that are on disk, and how many of them a record in it says so of. */
  #durableBytes: number
  #saidBytes = 0
  /** Records appended while the file is being written anew; null otherwise. */
  #meanwhile: ManifestRecord[] | null = null
  /** Why no record reaches the disk any more. */
  #failure: StorageError | null = null
  /** Called when a sync failed and what the file should say could not be written to another one at once: from then on the disk may
   *  know any part of what was not synced, and only what the next `open` reads is sure. */
  onFailure: (failure: StorageError) => void = () => {}
  /** Bytes that `open` cut off behind the last good record, and kept aside. */
  readonly cutBytes: number
  readonly #commit = new GroupCommit(() => this.#syncOrRewrite())

  private constructor(
    storage: Storage,
    file: AppendFile,
    state: ManifestState,
    fileIncarnation: Buffer,
    { cutBytes = 0 } = {},
  ) {
    this.cutBytes = cutBytes
    this.#storage = storage
    this.path = file.path
    this.state = state
    this.#file = file
    this.#fileIncarnation = fileIncarnation
    this.#rewrittenBytes = file.sizeBytes
    this.#durableBytes = file.sizeBytes
  }

  /** null when there is none. A torn tail is cut off and kept aside: from there on bytes on the disk may be damaged instead.
   *  @throws FormatError when it is damaged beyond that, StorageError */
  static async open(storage: Storage, path: string): Promise<Manifest | null> {
    if (storage.sizeBytes(path) === null) return null
    // What is read may be page cache alone, and stay so whatever a sync says: nothing is built on it before it is on disk.
    await storage.writeAgain(path, 0)
    const file = storage.openAppend(path)
    try {
      const bytes = file.readSync(0, file.sizeBytes)
      const { incarnation, state, goodBytes } = folded(path, bytes)
      const rest = bytes.subarray(goodBytes)
      if (rest.length > 0) {
        await storage.publish(cutPath(dirname(path), basename(path), goodBytes), [rest])
        file.truncate(goodBytes)
        await file.sync()
      }
      return new Manifest(storage, file, state, incarnation, { cutBytes: rest.length })
    } catch (error) {
      file[Symbol.dispose]()
      throw error
    }
  }

  static async create(
    storage: Storage,
    path: string,
    incarnation: Buffer,
    records: readonly ManifestRecord[],
  ): Promise<Manifest> {
    const state = new ManifestState(incarnation)
    for (const record of records) state.apply(record)
    await storage.publish(path, [
      encodeManifestHeader(incarnation),
      ...records.map(record => encodeRecord(record, incarnation)),
    ])
    return new Manifest(storage, storage.openAppend(path), state, incarnation)
  }

  get sizeBytes(): number {
    return this.#file.sizeBytes
  }

  /** @throws StorageError when nothing can be recorded any more */
  requireWell(): void {
    if (this.#failure !== null) throw this.#failure
  }

  /** Appends the records in one write, or none of them.
   *  @throws StorageError when the disk refuses or a sync failed, AssertionError for a record that does not follow from the state */
  append(...records: readonly ManifestRecord[]): void {
    this.requireWell()
    this.state.assertFolds(records)
    const isNews = this.#durableBytes > this.#saidBytes
    appendWhole(this.#file, [
      ...(isNews ? [encodeDurable(this.#durableBytes, this.#fileIncarnation)] : []),
      ...records.map(record => encodeRecord(record, this.#fileIncarnation)),
    ])
    this.#saidBytes = this.#durableBytes
    for (const record of records) this.state.apply(record)
    this.#meanwhile?.push(...records)
  }

  /** What was appended before the call is on disk when it settles; calls share one sync. After a failure it fails for ever.
   *  @throws StorageError */
  sync(): Promise<void> {
    return this.#commit.run()
  }

  /** A sync that begins later fails: the file may be another owner's by then. */
  [Symbol.dispose](): void {
    this.#failure ??= new StorageError(`${this.path} is closed`)
    this.#file[Symbol.dispose]()
  }

  async #syncOrRewrite(): Promise<void> {
    this.requireWell()
    try {
      const bytes = this.#file.sizeBytes
      const isLong = bytes > rewriteBytesMin && bytes > this.#rewrittenBytes * rewriteRatio
      if (!isLong || !(await this.#shortened())) await this.#syncFile()
    } catch (error) {
      if (this.#failure === null) {
        this.#failure = new StorageError(`the manifest cannot be synced: ${(error as Error).message}`, { cause: error })
        this.onFailure(this.#failure)
      }
      throw this.#failure
    }
  }

  /** @returns false when there is no room for a shorter one beside it: the long one goes on */
  async #shortened(): Promise<boolean> {
    const bytes = this.#file.sizeBytes
    try {
      await this.#replaceFile()
    } catch (error) {
      if (!(error instanceof StorageError && error.full)) throw error
      this.#rewrittenBytes = bytes
      return false
    }
    await this.#storage.syncDirectory(dirname(this.path))
    return true
  }

  async #syncFile(): Promise<void> {
    try {
      const { sizeBytes } = this.#file
      await this.#file.sync()
      this.#durableBytes = sizeBytes
    } catch {
      // A failed sync is never repeated on its file: the state in memory is written to a new one, whose failure the caller hears.
      await this.#replaceFile()
      await this.#storage.syncDirectory(dirname(this.path))
    }
  }

  /** Renames a synced file with the folded state over the old one, appends to which go on meanwhile. */
  async #replaceFile(): Promise<void> {
    const temporary = `${this.path}.tmp`
    const incarnation = this.state.incarnation
    this.#storage.remove(temporary)
    const file = this.#storage.openAppend(temporary)
    try {
      const write = (records: readonly ManifestRecord[]) =>
        appendWhole(
          file,
          records.map(record => encodeRecord(record, incarnation)),
        )
      appendWhole(file, [encodeManifestHeader(incarnation)])
      write(this.state.records())
      this.#meanwhile = []
      await file.sync()
      while (this.#meanwhile.length > 0) {
        write(this.#meanwhile.splice(0))
        await file.sync()
      }
      this.requireWell()
      this.#storage.rename(temporary, this.path)
    } catch (error) {
      file[Symbol.dispose]()
      this.#storage.remove(temporary)
      throw error
    } finally {
      this.#meanwhile = null
    }
    this.#file[Symbol.dispose]()
    this.#file = file
    this.#fileIncarnation = incarnation
    this.#rewrittenBytes = file.sizeBytes
    this.#durableBytes = file.sizeBytes
    this.#saidBytes = 0
  }
}

/** What a manifest on disk says.
 *  @throws FormatError, naming the file */
function folded(path: string, bytes: Buffer) {
  try {
    const { incarnation, records, goodBytes } = decodeManifest(bytes)
    const state = new ManifestState(incarnation)
    for (const record of records) state.apply(record)
    return { incarnation, state, goodBytes }
  } catch (error) {
    // What we fold before we write cannot fail like this; what somebody else wrote, or a disk garbled, can.
    if (!(error instanceof FormatError || error instanceof RangeError || error instanceof AssertionError)) throw error
    throw new FormatError(`${path}: ${error.message}`, error)
  }
}
