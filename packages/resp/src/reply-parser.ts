import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { type ReplyOrError, RespError } from './reply.ts'

/** Where bulk replies lie; a BulkPool is one. */
export interface BulkMemory {
  /** Memory with anything in it. */
  take(lengthBytes: number): Buffer
}

/** The bytes are no reply: the stream has no boundary to go on from. */
export class MalformedReply extends Error {
  override readonly name = 'MalformedReply'
}

const lineBytesMax = 64 * 1024
/** Of a stranger's line, in an error message. */
const quotedCharactersMax = 32
const elementsMax = 1024 * 1024
const depthMax = 4
const lineFeed = 10
const carriageReturn = 13
const bulkTrailerBytes = 2
const emptyLine = Buffer.alloc(0)

interface OpenArray {
  readonly elements: ReplyOrError[]
  readonly count: number
}

/** Cuts a byte stream into replies. A bulk gets its memory once, when its length is known and allowed, and is
 *  filled as it arrives: each byte is copied once. Simple strings come as Buffers, like bulks. */
export class ReplyParser {
  readonly #memory: BulkMemory
  readonly #onReply: (reply: ReplyOrError) => void
  /** The start of a line whose end has not arrived. */
  #partialLine: Buffer = emptyLine
  #bulk: Buffer | null = null
  /** Of the bulk and its trailer. */
  #filledBytes = 0
  readonly #arrays: OpenArray[] = []

  constructor(memory: BulkMemory, onReply: (reply: ReplyOrError) => void) {
    this.#memory = memory
    this.#onReply = onReply
  }

  /** Takes the next bytes, valid until it returns; calls `onReply` for each reply that they end.
   *  @throws MalformedReply; the parser is of no use then */
  feed(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) at = this.#bulk === null ? this.#readLine(chunk, at) : this.#fill(this.#bulk, chunk, at)
  }

  #readLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(lineFeed, at)
    const piece = chunk.subarray(at, end < 0 ? chunk.length : end)
    if (this.#partialLine.length + piece.length > lineBytesMax) throw new MalformedReply('a line without an end')
    const line = end < 0 || this.#partialLine.length > 0 ? Buffer.concat([this.#partialLine, piece]) : piece
    if (end < 0) {
      this.#partialLine = line
      return chunk.length
    }
    this.#partialLine = emptyLine
    if (line.at(-1) !== carriageReturn) throw new MalformedReply('a line feed without its carriage return')
    this.#begin(String.fromCharCode(line[0]!), line.toString('utf8', 1, line.length - 1))
    return end + 1
  }

  #fill(bulk: Buffer, chunk: Buffer, at: number): number {
    if (this.#filledBytes < bulk.length) {
      const copiedBytes = chunk.copy(bulk, this.#filledBytes, at)
      this.#filledBytes += copiedBytes
      return at + copiedBytes
    }
    const expected = this.#filledBytes === bulk.length ? carriageReturn : lineFeed
    if (chunk[at] !== expected) throw new MalformedReply('a bulk is longer than it says')
    if (++this.#filledBytes === bulk.length + bulkTrailerBytes) {
      this.#bulk = null
      this.#end(bulk)
    }
    return at + 1
  }

  #begin(type: string, text: string): void {
    if (type === '+') this.#end(Buffer.from(text))
    else if (type === '-') this.#end(new RespError(text))
    else if (type === ':') this.#end(integer(text, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER))
    else if (type === '$') this.#beginBulk(integer(text, -1, WireLimit.bulkBytesMax))
    else if (type === '*') this.#beginArray(integer(text, -1, elementsMax))
    else throw new MalformedReply(`no reply begins with ${JSON.stringify((type + text).slice(0, quotedCharactersMax))}`)
  }

  #beginBulk(lengthBytes: number): void {
    if (lengthBytes < 0) this.#end(null)
    else {
      this.#bulk = this.#memory.take(lengthBytes)
      this.#filledBytes = 0
    }
  }

  #beginArray(count: number): void {
    if (this.#arrays.length === depthMax) throw new MalformedReply('arrays in arrays in arrays')
    if (count <= 0) this.#end(count < 0 ? null : [])
    else this.#arrays.push({ elements: [], count })
  }

  /** A value is whole: perhaps it was the last of an array, and that the last of another. */
  #end(value: ReplyOrError): void {
    let whole = value
    for (let array = this.#arrays.at(-1); array; array = this.#arrays.at(-1)) {
      array.elements.push(whole)
      if (array.elements.length < array.count) return
      this.#arrays.pop()
      whole = array.elements
    }
    this.#onReply(whole)
  }
}

function integer(text: string, min: number, max: number): number {
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw new MalformedReply(`${JSON.stringify(text)} is no number we expect`)
  return value
}
