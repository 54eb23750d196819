import { StorError } from '../errors.ts'

/** Takes a stored value apart from the front; every length is compared with what is left before it is believed. What it
 *  hands out is copied. Errors are StorError 'damaged', naming the value. */
export class ByteReader {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0

  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes
    this.#what = what
  }

  /** One structure. */
  read<V>(layout: { name: string; sizeBytes: number; decode(bytes: Buffer): V }): V {
    const bytes = this.bytes(layout.sizeBytes)
    try {
      return layout.decode(bytes)
    } catch (cause) {
      throw new StorError('damaged', `${this.#what}: ${layout.name} holds a number out of range`, { cause })
    }
  }

  bytes(lengthBytes: number): Buffer {
    if (lengthBytes > this.leftBytes) throw this.damaged(`is cut short: ${lengthBytes} bytes expected`)
    const part = Buffer.alloc(lengthBytes)
    this.#bytes.copy(part, 0, this.#at, this.#at + lengthBytes)
    this.#at += lengthBytes
    return part
  }

  /** Refuses a count that cannot be true before anything loops over it. */
  count(count: number, bytesEach: number): number {
    if (count * bytesEach > this.leftBytes) throw this.damaged(`counts ${count} items that do not fit`)
    return count
  }

  end(): void {
    if (this.leftBytes > 0) throw this.damaged(`has ${this.leftBytes} bytes too many`)
  }

  damaged(text: string): StorError {
    return new StorError('damaged', `${this.#what} ${text}`)
  }

  get leftBytes(): number {
    return this.#bytes.length - this.#at
  }
}
