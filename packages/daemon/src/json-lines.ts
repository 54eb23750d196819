import { StringDecoder } from 'node:string_decoder'

/** One message of a control socket. */
export type Message = Readonly<Record<string, unknown>>

/** The longest line either side accepts; an answer that lists every object must page. */
export const lineBytesMax = 8 * 1024 * 1024

/** The messages of a byte stream, one JSON object per line. Reads on only when the last message was taken.
 *  @throws Error for a line that is too long or no JSON object */
export async function* messagesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Message, void, undefined> {
  const decoder = new StringDecoder('utf8')
  let pending = ''
  for await (const chunk of chunks) {
    const lines = (pending + decoder.write(chunk)).split('\n')
    pending = lines.pop() ?? ''
    for (const line of lines) yield parseMessage(line)
    if (pending.length > lineBytesMax) throw new Error(`a line is longer than ${lineBytesMax} bytes`)
  }
}

export function encodeMessage(message: Message): string {
  return `${JSON.stringify(message)}\n`
}

function parseMessage(line: string): Message {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw new Error('a line is no JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('a line is no JSON object')
  return value as Message
}
