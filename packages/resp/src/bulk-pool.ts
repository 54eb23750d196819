/** Smaller bulks cost less to allocate than to keep. No key is that long, so what is lent out is always a value. */
const pooledBytesMin = 2 * 1024
/** Values are powers of two mostly. In a segment they have a header and a key, which must not double their memory. */
const headBytes = 512
/** Kept for later use, by all connections of a server together. */
const spareBytesMaxDefault = 16 * 1024 * 1024

/** Memory for large bulks, used again once their command is answered. A fresh buffer per value made the garbage collector a
 *  third of the work of a server that takes in 128 KiB values. */
export class BulkPool {
  readonly #spareBytesMax: number
  readonly #spare = new Map<number, ArrayBuffer[]>()
  readonly #lent = new WeakSet<ArrayBufferLike>()
  #spareBytes = 0

  /** @param limits spareBytesMax: what is kept of what was lent at once; what lies in it costs no more than it did then */
  constructor({ spareBytesMax = spareBytesMaxDefault }: { readonly spareBytesMax?: number } = {}) {
    this.#spareBytesMax = spareBytesMax
  }

  /** Bytes kept for later use. */
  get spareBytes(): number {
    return this.#spareBytes
  }

  isPooled(lengthBytes: number): boolean {
    return lengthBytes >= pooledBytesMin
  }

  /** Whether `give` would take it back. */
  isLent(bulk: Buffer): boolean {
    return this.isPooled(bulk.length) && this.#lent.has(bulk.buffer)
  }

  /** Memory with anything in it. */
  take(lengthBytes: number): Buffer {
    if (!this.isPooled(lengthBytes)) return Buffer.allocUnsafeSlow(lengthBytes)
    const capacityBytes = capacityFor(lengthBytes)
    const memory = this.#takeSpare(capacityBytes) ?? this.#allocate(capacityBytes)
    this.#lent.add(memory)
    return Buffer.from(memory, 0, lengthBytes)
  }

  /** Takes back what `take` lent; any other buffer, or one that was given back before, is left alone. */
  give(bulk: Buffer): void {
    if (!this.isPooled(bulk.length) || !this.#lent.delete(bulk.buffer)) return
    const { byteLength } = bulk.buffer
    if (this.#spareBytes + byteLength > this.#spareBytesMax) return
    this.#spareBytes += byteLength
    const spares = this.#spare.get(byteLength)
    if (spares) spares.push(bulk.buffer as ArrayBuffer)
    else this.#spare.set(byteLength, [bulk.buffer as ArrayBuffer])
  }

  #takeSpare(capacityBytes: number): ArrayBuffer | undefined {
    const memory = this.#spare.get(capacityBytes)?.pop()
    if (memory) this.#spareBytes -= capacityBytes
    return memory
  }

  /** What is kept of other sizes makes room first: so all of it together never grows beyond what was lent at once. */
  #allocate(capacityBytes: number): ArrayBufferLike {
    let missingBytes = capacityBytes
    for (const [spareCapacityBytes, spares] of this.#spare) {
      while (missingBytes > 0 && spares.length > 0) {
        this.#takeSpare(spareCapacityBytes)!.transfer(0)
        missingBytes -= spareCapacityBytes
      }
    }
    return Buffer.allocUnsafeSlow(capacityBytes).buffer
  }
}

function capacityFor(lengthBytes: number): number {
  const powerBytes = 2 ** Math.floor(Math.log2(lengthBytes))
  if (lengthBytes === powerBytes) return powerBytes
  return lengthBytes <= powerBytes + headBytes ? powerBytes + headBytes : 2 * powerBytes
}
