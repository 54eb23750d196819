import { ClosedSegment } from '../../segment/closed.ts'
import type { Storage } from '../../segment/storage.ts'
import type { Segment } from './segment.ts'

/** Descriptors are the process's: clients, hooks and files open for append need theirs. */
export const openFilesMax = 256

interface OpenFile {
  readonly file: ClosedSegment
  /** Which read of all it was. */
  lastRead: number
}

/** The files of closed segments that are open for reading, of all namespaces. For one more the least recently read one is closed;
 *  one that is being read from stays open, also above the limit. */
export class OpenFiles {
  readonly #storage: Storage
  readonly #filesMax: number
  readonly #files = new Map<Segment, OpenFile>()
  #reads = 0

  constructor(storage: Storage, filesMax: number) {
    this.#storage = storage
    this.#filesMax = filesMax
  }

  /** To be read from at once: it may be closed later.
   *  @throws StorageError */
  of(segment: Segment): ClosedSegment {
    let open = this.#files.get(segment)
    if (open === undefined) {
      this.#closeSome()
      open = { file: new ClosedSegment(this.#storage, segment.dataPath, segment.salt), lastRead: 0 }
      this.#files.set(segment, open)
    }
    open.lastRead = ++this.#reads
    return open.file
  }

  /** Its file goes, or its namespace. Reads under way finish. */
  close(segment: Segment): void {
    this.#files.get(segment)?.file[Symbol.dispose]()
    this.#files.delete(segment)
  }

  #closeSome(): void {
    if (this.#files.size < this.#filesMax) return
    const leastRecent = [...this.#files].sort(([, a], [, b]) => a.lastRead - b.lastRead)
    for (const [segment, { file }] of leastRecent) {
      if (this.#files.size < this.#filesMax) return
      if (!file.isBeingRead) this.close(segment)
    }
  }
}
