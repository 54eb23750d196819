import { lengthOf, type SegmentReader, type ValuePlace, verifiedValue } from './reader.ts'
import type { ReadFile, Storage } from './storage.ts'

/** A closed segment's local file. It stays readable for reads under way when it is disposed of or unlinked meanwhile. */
export class ClosedSegment implements SegmentReader {
  readonly #file: ReadFile
  readonly #salt: number | null
  #readers = 0
  #disposed = false

  /** @throws FileMissing */
  constructor(storage: Storage, path: string, salt: number | null) {
    this.#file = storage.openRead(path)
    this.#salt = salt
  }

  get isBeingRead(): boolean {
    return this.#readers > 0
  }

  async read(key: Uint8Array, place: ValuePlace): Promise<Buffer | null> {
    this.#readers++
    try {
      return verifiedValue(await this.#file.read(place.offsetBytes, lengthOf(key, place)), key, place, this.#salt)
    } finally {
      this.#readers--
      this.#closeWhenUnused()
    }
  }

  readSync(key: Uint8Array, place: ValuePlace): Buffer | null {
    return verifiedValue(this.#file.readSync(place.offsetBytes, lengthOf(key, place)), key, place, this.#salt)
  }

  [Symbol.dispose](): void {
    this.#disposed = true
    this.#closeWhenUnused()
  }

  #closeWhenUnused(): void {
    if (this.#disposed && this.#readers === 0) this.#file[Symbol.dispose]()
  }
}
