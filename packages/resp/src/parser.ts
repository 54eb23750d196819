import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { BulkPool } from './bulk-pool.ts'

/** What a request may cost before it is refused. */
export interface ParserLimits {
  readonly argumentsMax: number
  /** One argument, inclusive. */
  readonly bulkBytesMax: number
  /** All arguments of one command together: 1,024 full bulks would be 8 GiB. */
  readonly commandBytesMax: number
  /** A header line or an inline command, line end included. */
  readonly lineBytesMax: number
}

export const defaultLimits: ParserLimits = {
  argumentsMax: WireLimit.argumentsMax,
  bulkBytesMax: WireLimit.bulkBytesMax,
  commandBytesMax: 2 * WireLimit.bulkBytesMax,
  lineBytesMax: 8192,
}

/** The bytes are no request: answer `reply` (null: nothing) and close, the stream has no boundary to go on from. */
export class MalformedRequest extends Error {
  readonly reply: string | null

  constructor(reply: string | null) {
    super(reply ?? 'header line without an end')
    this.reply = reply
  }
}

const emptyBulk = Buffer.alloc(0)
const lineFeed = 10
const carriageReturn = 13
const colon = 0x3a
const doubleQuote = 0x22
const singleQuote = 0x27
const inlineQuote = 'Malformed request, an inline command takes no quotes'
const notACommand = 'Malformed request, array expected'
const bulkTrailerBytes = 2

/** A shorter borrowed chunk is copied whole, a longer one argument by argument. */
const copiedChunkBytesMax = 4096

/** Cuts a byte stream into commands. `feed` chunks as they arrive, then call `next` until it returns null.
 *  An argument that lies whole in one chunk is a view of that chunk; any other gets its memory once, when its length is
 *  known and allowed, and is filled in place. A large one is on loan from the pool: who executes the command gives it back.
 *  @see 0-db 2.0.7, whose error texts and number parsing (C's atoi) these are */
export class RespParser {
  readonly #limits: ParserLimits
  readonly #pool: BulkPool
  #chunk: Buffer = emptyBulk
  #offset = 0
  /** The chunk will be written again once `keep` was called: nothing may stay a view of it. */
  #isBorrowed = false
  #waiting: Buffer[] = []
  /** The start of a line whose end has not arrived. */
  #partialLine: Buffer = emptyBulk
  #arguments: Buffer[] = []
  #argumentsLeft = 0
  #commandBytes = 0
  #bulk: Buffer | null = null
  #bulkFilledBytes = 0
  #trailerBytesLeft = 0
  #mayBeEmptyLine = false
  #failed = false

  constructor(limits: ParserLimits = defaultLimits, pool: BulkPool = new BulkPool()) {
    this.#limits = limits
    this.#pool = pool
  }

  /** Hands over a chunk; its bytes belong to the parsed commands from now on. */
  feed(chunk: Buffer): void {
    if (this.#offset === this.#chunk.length && this.#waiting.length === 0) {
      this.#chunk = chunk
      this.#offset = 0
    } else this.#waiting.push(chunk)
  }

  /** As `feed`, for a chunk that is valid until `keep` is called: arguments are copies then. */
  feedBorrowed(chunk: Buffer): void {
    const isSpent = this.#offset === this.#chunk.length && this.#waiting.length === 0
    if (!isSpent || chunk.length <= copiedChunkBytesMax) {
      this.feed(Buffer.from(chunk))
      return
    }
    this.#chunk = chunk
    this.#offset = 0
    this.#isBorrowed = true
  }

  /** Copies what is left of a borrowed chunk. */
  keep(): void {
    if (!this.#isBorrowed) return
    this.#isBorrowed = false
    const rest = this.#chunk.subarray(this.#offset)
    this.#chunk = rest.length > 0 ? Buffer.from(rest) : emptyBulk
    this.#offset = 0
    if (this.#partialLine.length > 0) this.#partialLine = Buffer.from(this.#partialLine)
  }

  /** The next whole command, or null when more bytes are needed.
   *  @throws MalformedRequest once; afterwards the parser answers null for ever */
  next(): Buffer[] | null {
    if (this.#failed) return null
    for (;;) {
      if (this.#trailerBytesLeft > 0) {
        if (!this.#skipTrailer()) return null
        if (this.#argumentsLeft === 0) return this.#takeCommand()
      }
      if (this.#bulk) {
        if (!this.#fill(this.#bulk)) return null
        this.#endArgument(this.#bulk)
        this.#bulk = null
        continue
      }
      if (!this.#nextChunkIfSpent()) return null
      const atCommand = this.#argumentsLeft === 0
      if (atCommand && this.#partialLine.length === 0) this.#checkFirstByte()
      const line = this.#readLine()
      if (!line) return null
      if (!atCommand) this.#beginArgument(line)
      else if (line[0] === 0x2a) this.#beginCommand(line)
      else if (line.length === 0 || line[0] === carriageReturn) this.#skipEmptyLine(line)
      else return this.#splitInline(line)
    }
  }

  #fail(reply: string | null): never {
    this.#failed = true
    this.#waiting = []
    throw new MalformedRequest(reply)
  }

  #nextChunkIfSpent(): boolean {
    while (this.#offset === this.#chunk.length) {
      const chunk = this.#waiting.shift()
      if (!chunk) {
        // Nothing is left of it: do not keep its memory until the next one arrives.
        this.#chunk = emptyBulk
        this.#offset = 0
        return false
      }
      this.#chunk = chunk
      this.#offset = 0
    }
    return true
  }

  #checkFirstByte(): void {
    const first = this.#chunk[this.#offset]!
    if (first === 0x2a) return
    const isLetter = (first | 0x20) >= 0x61 && (first | 0x20) <= 0x7a
    const isEmptyLine = this.#mayBeEmptyLine && (first === carriageReturn || first === lineFeed)
    if (!isLetter && !isEmptyLine) this.#fail(notACommand)
  }

  /** One behind a command, as `redis-cli --pipe` ends its input. Not behind an HTTP header: what a browser posts ends there. */
  #skipEmptyLine(line: Buffer): void {
    if (line.length > 1) this.#fail(notACommand)
    this.#mayBeEmptyLine = false
  }

  /** One line without its line feed, or null; a view, valid until the next call. */
  #readLine(): Buffer | null {
    while (this.#nextChunkIfSpent()) {
      const end = this.#chunk.indexOf(lineFeed, this.#offset)
      const piece = this.#chunk.subarray(this.#offset, end < 0 ? this.#chunk.length : end)
      const lineBytes = this.#partialLine.length + piece.length
      if (lineBytes >= this.#limits.lineBytesMax) this.#fail(null)
      this.#offset += piece.length + (end < 0 ? 0 : 1)
      const line = this.#partialLine.length === 0 ? piece : Buffer.concat([this.#partialLine, piece])
      this.#partialLine = end < 0 ? line : emptyBulk
      if (end >= 0) return line
    }
    return null
  }

  #beginCommand(line: Buffer): void {
    const count = integerPrefix(line, 1)
    if (count < 0) this.#fail('Internal memory error')
    if (count === 0) this.#fail('Missing arguments')
    if (count > this.#limits.argumentsMax) this.#fail('Too many arguments')
    this.#argumentsLeft = count
    this.#commandBytes = 0
  }

  #beginArgument(line: Buffer): void {
    if (line[0] !== 0x24) this.#fail('Malformed query string')
    const lengthBytes = integerPrefix(line, 1)
    if (lengthBytes < 0) this.#fail('Malformed query string')
    this.#commandBytes += lengthBytes
    if (lengthBytes > this.#limits.bulkBytesMax || this.#commandBytes > this.#limits.commandBytesMax)
      this.#fail('Payload too big')
    if (this.#chunk.length - this.#offset >= lengthBytes) {
      this.#endArgument(this.#own(this.#chunk.subarray(this.#offset, this.#offset + lengthBytes)))
      this.#offset += lengthBytes
    } else {
      this.#bulk = this.#pool.take(lengthBytes)
      this.#bulkFilledBytes = 0
    }
  }

  #own(bytes: Buffer): Buffer {
    if (!this.#isBorrowed) return bytes
    if (!this.#pool.isPooled(bytes.length)) return Buffer.from(bytes)
    const own = this.#pool.take(bytes.length)
    bytes.copy(own)
    return own
  }

  #fill(bulk: Buffer): boolean {
    while (this.#bulkFilledBytes < bulk.length) {
      if (!this.#nextChunkIfSpent()) return false
      const copiedBytes = this.#chunk.copy(bulk, this.#bulkFilledBytes, this.#offset)
      this.#bulkFilledBytes += copiedBytes
      this.#offset += copiedBytes
    }
    return true
  }

  #endArgument(bytes: Buffer): void {
    this.#arguments.push(bytes)
    this.#argumentsLeft--
    this.#trailerBytesLeft = bulkTrailerBytes
  }

  /** The two bytes behind a bulk are skipped unseen, as 0-db does. */
  #skipTrailer(): boolean {
    while (this.#trailerBytesLeft > 0) {
      if (!this.#nextChunkIfSpent()) return false
      this.#offset++
      this.#trailerBytesLeft--
    }
    return true
  }

  #takeCommand(): Buffer[] {
    const command = this.#arguments
    this.#arguments = []
    this.#mayBeEmptyLine = true
    return command
  }

  #splitInline(borrowedLine: Buffer): Buffer[] {
    const line = this.#own(borrowedLine)
    const words: Buffer[] = []
    let start = -1
    for (let index = 0; index <= line.length; index++) {
      const isBlank = index === line.length || line[index]! <= 0x20
      if (!isBlank && start < 0) start = index
      else if (isBlank && start >= 0) {
        // Elsewhere it would begin a word with blanks in it: half a value must not be stored for a whole one.
        if (line[start] === doubleQuote || line[start] === singleQuote) this.#fail(inlineQuote)
        words.push(line.subarray(start, index))
        start = -1
      }
    }
    if (words.length > this.#limits.argumentsMax) this.#fail('Too many arguments')
    this.#mayBeEmptyLine = !words[0]!.includes(colon)
    return words
  }
}

/** C's atoi: blanks, a sign, digits; anything else ends the number. Saturates far above every limit. */
function integerPrefix(line: Buffer, from: number): number {
  let index = from
  while (line[index] === 0x20 || line[index] === 0x09) index++
  const isNegative = line[index] === 0x2d
  if (isNegative || line[index] === 0x2b) index++
  let value = 0
  for (; index < line.length; index++) {
    const digit = line[index]! - 0x30
    if (digit < 0 || digit > 9) break
    value = Math.min(value * 10 + digit, 1e12)
  }
  return isNegative ? -value : value
}
