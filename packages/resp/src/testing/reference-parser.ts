import type { ParserLimits } from '../parser.ts'

/** What a stream means: its commands, and how it ends. */
export interface Meaning {
  readonly commands: readonly (readonly Buffer[])[]
  /** More bytes are waited for, or this refusal (null: without a word). */
  readonly end: 'waits' | { readonly refusal: string | null }
}

class Refusal {
  readonly text: string | null
  constructor(text: string | null) {
    this.text = text
  }
}

/** 0-db's rules once more, the slow way: the whole stream lies in memory, and nothing is clever. */
export function meaningOf(stream: Buffer, limits: ParserLimits): Meaning {
  const commands: Buffer[][] = []
  let at = 0
  let mayBeEmptyLine = false

  /** undefined: its end has not arrived. */
  const line = (): string | undefined => {
    const end = stream.indexOf('\n', at)
    const text = stream.toString('latin1', at, end < 0 ? stream.length : end)
    if (text.length >= limits.lineBytesMax) throw new Refusal(null)
    if (end < 0) return undefined
    at = end + 1
    return text
  }

  const command = (): Buffer[] | undefined => {
    if (at === stream.length) return undefined
    const first = String.fromCharCode(stream[at]!)
    if (mayBeEmptyLine && /[\r\n]/.test(first)) {
      const empty = line()
      if (empty === undefined) return undefined
      if (empty.length > 1) throw new Refusal('Malformed request, array expected')
      mayBeEmptyLine = false
      return command()
    }
    if (!/[*A-Za-z]/.test(first)) throw new Refusal('Malformed request, array expected')
    const head = line()
    if (head === undefined) return undefined
    if (first !== '*') {
      const words = head.split(/[\0- ]+/).filter(word => word !== '')
      if (words.some(word => /^["']/.test(word)))
        throw new Refusal('Malformed request, an inline command takes no quotes')
      if (words.length > limits.argumentsMax) throw new Refusal('Too many arguments')
      mayBeEmptyLine = !words[0]!.includes(':')
      return words.map(word => Buffer.from(word, 'latin1'))
    }
    const count = numberIn(head)
    if (count < 0) throw new Refusal('Internal memory error')
    if (count === 0) throw new Refusal('Missing arguments')
    if (count > limits.argumentsMax) throw new Refusal('Too many arguments')
    const found: Buffer[] = []
    let sumBytes = 0
    while (found.length < count) {
      const header = at < stream.length ? line() : undefined
      if (header === undefined) return undefined
      const lengthBytes = numberIn(header)
      if (header[0] !== '$' || lengthBytes < 0) throw new Refusal('Malformed query string')
      sumBytes += lengthBytes
      if (lengthBytes > limits.bulkBytesMax || sumBytes > limits.commandBytesMax) throw new Refusal('Payload too big')
      if (stream.length < at + lengthBytes + 2) return undefined
      found.push(stream.subarray(at, at + lengthBytes))
      at += lengthBytes + 2
    }
    mayBeEmptyLine = true
    return found
  }

  try {
    for (let next = command(); next; next = command()) commands.push(next)
    return { commands, end: 'waits' }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { commands, end: { refusal: error.text } }
  }
}

/** C's atoi behind the first character. */
function numberIn(header: string): number {
  const [, sign, digits] = /^[ \t]*([+-]?)(\d*)/.exec(header.slice(1))!
  return Number(`${sign === '-' ? '-' : ''}${digits || 0}`)
}
