import { strict as assert } from 'node:assert'
import type { BulkPool } from './bulk-pool.ts'
import { type ReplyOrError, RespError } from './reply.ts'

const slabBytes = 16 * 1024
/** Shorter bulks are copied into the slab: one more entry of a writev costs more than copying them. */
const copiedBulkBytesMax = 2048
/** So are longer ones, up to this, that fit in what is left of it: a reply alone is then one write of one piece. */
const fittingBulkBytesMax = 8192
const lineEnd = '\r\n'

/** Collects replies as chunks for one writev: small ones side by side in a slab, large bulks by reference (they must
 *  not change until the write is done). */
export class ReplyEncoder {
  readonly #pool: BulkPool | null
  #slab: Buffer = Buffer.allocUnsafeSlow(slabBytes)
  #sliceStart = 0
  #end = 0
  #chunks: Buffer[] = []
  #bytes = 0

  /** @param pool gets back its memory when the bulk in it was copied */
  constructor(pool: BulkPool | null = null) {
    this.#pool = pool
  }

  /** Bytes collected and not yet taken. */
  get bytes(): number {
    return this.#bytes
  }

  push(reply: ReplyOrError): void {
    if (typeof reply === 'string') this.#text(`+${reply}\r\n`)
    else if (typeof reply === 'number') {
      assert(Number.isSafeInteger(reply))
      this.#text(`:${reply}\r\n`)
    } else if (reply === null) this.#text('$-1\r\n')
    else if (Buffer.isBuffer(reply)) this.#bulk(reply)
    else if (reply instanceof RespError) this.#text(`-${reply.message.replace(/[\r\n]+/g, ' ')}\r\n`)
    else {
      this.#text(`*${reply.length}\r\n`)
      for (const element of reply) this.push(element)
    }
  }

  /** Everything pushed since the last call, in order. */
  take(): Buffer[] {
    this.#endSlice()
    const chunks = this.#chunks
    this.#chunks = []
    this.#bytes = 0
    return chunks
  }

  /** All that was taken is with the kernel: its memory may be written again. */
  reuse(): void {
    if (this.#chunks.length > 0 || this.#end > this.#sliceStart) return
    this.#sliceStart = 0
    this.#end = 0
  }

  #bulk(bytes: Buffer): void {
    this.#text(`$${bytes.length}\r\n`)
    const fits = bytes.length <= fittingBulkBytesMax && this.#end + bytes.length + lineEnd.length <= slabBytes
    if (fits || bytes.length <= copiedBulkBytesMax) {
      this.#reserve(bytes.length)
      bytes.copy(this.#slab, this.#end)
      this.#end += bytes.length
      this.#pool?.give(bytes)
    } else {
      this.#endSlice()
      this.#chunks.push(bytes)
    }
    this.#bytes += bytes.length
    this.#text(lineEnd)
  }

  #text(text: string): void {
    const lengthBytes = Buffer.byteLength(text)
    this.#bytes += lengthBytes
    if (lengthBytes > slabBytes) {
      this.#endSlice()
      this.#chunks.push(Buffer.from(text))
      return
    }
    this.#reserve(lengthBytes)
    this.#end += this.#slab.write(text, this.#end)
  }

  #reserve(lengthBytes: number): void {
    if (this.#end + lengthBytes <= slabBytes) return
    this.#endSlice()
    // The old slab lives on in the chunks that were cut from it.
    this.#slab = Buffer.allocUnsafeSlow(slabBytes)
    this.#sliceStart = 0
    this.#end = 0
  }

  #endSlice(): void {
    if (this.#end > this.#sliceStart) this.#chunks.push(this.#slab.subarray(this.#sliceStart, this.#end))
    this.#sliceStart = this.#end
  }
}
