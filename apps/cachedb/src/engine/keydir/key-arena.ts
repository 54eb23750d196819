import assert from 'node:assert'

/** A reference is chunk number × 128 KiB + offset, so 4 GiB of keys fit 32 bits. */
const chunkBytes = 128 * 1024
const chunksMax = 32_768
/** Per key: the entry it belongs to (u32), its length (u8). */
const headBytes = 5
const dead = 0xffff_ffff

interface Chunk {
  readonly bytes: Buffer
  usedBytes: number
  liveBytes: number
}

/** The bytes of many short keys, packed. A chunk more than half dead is emptied into the newest one, so that at most half is waste. */
export class KeyArena {
  readonly #moved: (entry: number, reference: number) => void
  readonly #chunks: (Chunk | null)[] = []
  readonly #freeNumbers: number[] = []
  #newest = -1

  /** @param moved told the new reference of an entry's key when its chunk is emptied */
  constructor(moved: (entry: number, reference: number) => void) {
    this.#moved = moved
  }

  get memoryBytes(): number {
    return (this.#chunks.length - this.#freeNumbers.length) * chunkBytes
  }

  /** Copies the key: `keyBytes` bytes from `keyAt` on. @returns its reference */
  add(entry: number, from: Uint8Array, keyAt = 0, keyBytes = from.length): number {
    assert(keyBytes > 0 && keyBytes < 256)
    const neededBytes = headBytes + keyBytes
    let chunk = this.#chunks[this.#newest]
    if (!chunk || chunk.usedBytes + neededBytes > chunkBytes) chunk = this.#begin()
    const at = chunk.usedBytes
    const { bytes } = chunk
    bytes.writeUInt32LE(entry, at)
    bytes[at + 4] = keyBytes
    // A loop: most keys are shorter than a call of `set` takes.
    for (let i = 0; i < keyBytes; i++) bytes[at + headBytes + i] = from[keyAt + i]!
    chunk.usedBytes += neededBytes
    chunk.liveBytes += neededBytes
    return this.#newest * chunkBytes + at
  }

  equals(reference: number, other: Uint8Array, keyAt: number, keyBytes: number): boolean {
    const bytes = this.#chunks[Math.floor(reference / chunkBytes)]!.bytes
    const at = reference % chunkBytes
    if (bytes[at + 4] !== keyBytes) return false
    for (let i = 0; i < keyBytes; i++) if (bytes[at + headBytes + i] !== other[keyAt + i]) return false
    return true
  }

  remove(reference: number): void {
    const number = Math.floor(reference / chunkBytes)
    const chunk = this.#chunks[number]!
    const at = reference % chunkBytes
    chunk.liveBytes -= headBytes + chunk.bytes[at + 4]!
    chunk.bytes.writeUInt32LE(dead, at)
    if (number !== this.#newest) this.#judge(number)
  }

  #begin(): Chunk {
    const full = this.#newest
    this.#newest = this.#freeNumbers.pop() ?? this.#chunks.length
    assert(this.#newest < chunksMax, 'more than 4 GiB of keys in one namespace')
    const chunk = { bytes: Buffer.allocUnsafeSlow(chunkBytes), usedBytes: 0, liveBytes: 0 }
    this.#chunks[this.#newest] = chunk
    // Keys of it that went while it was the newest; if none is left, nobody would ask again.
    this.#judge(full)
    return chunk
  }

  /** Empties the chunk when more than half of it is dead. */
  #judge(number: number): void {
    const chunk = this.#chunks[number]
    if (!chunk || chunk.liveBytes >= chunkBytes / 2) return
    const { bytes, usedBytes } = chunk
    for (let at = 0; at < usedBytes; at += headBytes + bytes[at + 4]!) {
      const entry = bytes.readUInt32LE(at)
      if (entry !== dead)
        this.#moved(entry, this.add(entry, bytes.subarray(at + headBytes, at + headBytes + bytes[at + 4]!)))
    }
    this.#chunks[number] = null
    this.#freeNumbers.push(number)
  }
}
