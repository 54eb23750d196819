import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/client'
import { StorError } from '../../errors.ts'
import type { ZdbLink } from './zdb-link.ts'

/** 0-db says the end by an error; some versions spell it with a colon. */
const ENDS = [ErrorText.noMoreData, 'No: more data']

/** The keys of a namespace, one batch per SCAN. Keys written meanwhile may be missed or come twice. */
export async function* scanKeys(link: ZdbLink, signal?: AbortSignal): AsyncIterable<readonly Buffer[]> {
  let cursor: Buffer | null = null
  for (;;) {
    const page = await scanPage(link, cursor, signal)
    if (page === null) return
    yield page.keys
    // A server that hands out the same cursor again would be asked for ever.
    if (cursor?.equals(page.cursor)) throw new StorError('damaged', `${link.name}: SCAN does not advance`)
    cursor = page.cursor
  }
}

async function scanPage(link: ZdbLink, cursor: Buffer | null, signal: AbortSignal | undefined) {
  let reply: Reply
  try {
    reply = await link.call(cursor === null ? ['SCAN'] : ['SCAN', cursor], signal)
  } catch (error) {
    if (error instanceof StorError && ENDS.some(text => error.message.endsWith(text))) return null
    throw error
  }
  const [next, entries] = Array.isArray(reply) ? reply : []
  if (!Buffer.isBuffer(next) || !Array.isArray(entries)) {
    throw new StorError('damaged', `${link.name}: SCAN answers something else than a cursor and entries`)
  }
  const keys = entries.flatMap(entry => {
    const key = Array.isArray(entry) ? entry[0] : null
    return Buffer.isBuffer(key) ? [Buffer.from(key)] : []
  })
  return { cursor: Buffer.from(next), keys }
}
