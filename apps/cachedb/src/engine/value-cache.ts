/** Bigger values come from the page cache fast enough, and would push out many small ones. */
const valueBytesMax = 64 * 1024
/** Map entry, key and Buffer object, roughly. */
const overheadBytes = 200

/** Values read lately, least recently used out first, bounded in bytes. Keys name a place in a segment, whose bytes never change. */
export class ValueCache {
  readonly #bytesMax: number
  readonly #values = new Map<string, Buffer>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @param placeOf asked only when anything is kept */
  get(placeOf: () => string): Buffer | null {
    if (this.#values.size === 0) return null
    const place = placeOf()
    const value = this.#values.get(place)
    if (value === undefined) return null
    this.#values.delete(place)
    this.#values.set(place, value)
    return value
  }

  /** Keeps the value, which is nobody's to change from now on; a view of something bigger is copied. */
  add(place: string, value: Buffer): void {
    if (value.length > valueBytesMax || this.#values.has(place)) return
    this.#values.set(place, value.length < value.buffer.byteLength ? Buffer.copyBytesFrom(value) : value)
    this.#bytes += value.length + overheadBytes
    for (const [oldest, { length }] of this.#values) {
      if (this.#bytes <= this.#bytesMax) return
      this.#values.delete(oldest)
      this.#bytes -= length + overheadBytes
    }
  }
}
