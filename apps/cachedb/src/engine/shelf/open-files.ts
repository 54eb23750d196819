import { ClosedSegment } from '../../segment/closed.ts'
import type { Storage } from '../../segment/storage.ts'
import type { Segment } from './segment.ts'

/** Descriptors are the process's: clients, hooks and files open for append need theirs. */
export const openFilesMax = 256

/** The files of closed segments that are open for reading, of all namespaces. For one more the least recently read one is closed;
 *  one that is being read from stays open, also above the limit. */
export class OpenFiles {
  readonly #storage: Storage
  readonly #filesMax: number
  /** Least recently read first. */
  readonly #files = new Map<Segment, ClosedSegment>()

  constructor(storage: Storage, filesMax: number) {
    this.#storage = storage
    this.#filesMax = filesMax
  }

  /** To be read from at once: it may be closed later.
   *  @throws StorageError */
  of(segment: Segment): ClosedSegment {
    const open = this.#files.get(segment)
    if (open === undefined) this.#closeSome()
    else this.#files.delete(segment)
    const file = open ?? new ClosedSegment(this.#storage, segment.dataPath, segment.salt)
    this.#files.set(segment, file)
    return file
  }

  /** Its file goes, or its namespace. Reads under way finish. */
  close(segment: Segment): void {
    this.#files.get(segment)?.[Symbol.dispose]()
    this.#files.delete(segment)
  }

  #closeSome(): void {
    for (const [segment, file] of this.#files) {
      if (this.#files.size < this.#filesMax) return
      if (!file.isBeingRead) this.close(segment)
    }
  }
}
