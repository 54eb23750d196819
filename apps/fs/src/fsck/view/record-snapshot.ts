import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** In one number: offset × this + length. A record has 64 KiB at most. */
const lengthsMax = 2 ** 17

/** All records of one moment, in a scratch file that has no name: a million inodes are some hundred megabytes, and a check looks at
 *  them out of order. What is kept in memory is a key and a number per record. */
export class RecordSnapshot implements Disposable {
  readonly #fd: number
  readonly #places = new Map<string, number>()
  #endBytes = 0

  private constructor(fd: number) {
    this.#fd = fd
  }

  static create(directory: string, name: string): RecordSnapshot {
    const path = join(directory, name)
    const fd = openSync(path, 'wx+', 0o600)
    unlinkSync(path)
    return new RecordSnapshot(fd)
  }

  /** null: there is no such record from now on. */
  set(key: string, bytes: Buffer | null): void {
    if (bytes === null) {
      this.#places.delete(key)
      return
    }
    if (bytes.length >= lengthsMax) throw new RangeError(`record ${key} has ${bytes.length} bytes`)
    writeSync(this.#fd, bytes, 0, bytes.length, this.#endBytes)
    this.#places.set(key, this.#endBytes * lengthsMax + bytes.length)
    this.#endBytes += bytes.length
  }

  /** Memory of its own. */
  get(key: string): Buffer | null {
    const place = this.#places.get(key)
    if (place === undefined) return null
    const bytes = Buffer.allocUnsafeSlow(place % lengthsMax)
    readSync(this.#fd, bytes, 0, bytes.length, Math.floor(place / lengthsMax))
    return bytes
  }

  has(key: string): boolean {
    return this.#places.has(key)
  }

  keys(): Iterable<string> {
    return this.#places.keys()
  }

  get count(): number {
    return this.#places.size
  }

  clear(): void {
    ftruncateSync(this.#fd)
    this.#places.clear()
    this.#endBytes = 0
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}
