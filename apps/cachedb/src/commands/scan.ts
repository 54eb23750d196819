import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'
import { exactly } from './arity.ts'

/** As 0-db: a page is what is found in this time, and one entry at least. */
const scanBudgetMs = 2
/** Of one KSCAN: some hundred thousand keys, which are encoded in one go while other clients wait. 0-db has no limit. */
const prefixReplyBytesMax = 8 * 1024 * 1024

const exactTwo = exactly(2)

/** SCAN [cursor] → [cursor of the last entry, [[key, length, timestamp]…]]. */
export function scan(session: Session, args: Buffer[]): Promise<Reply> {
  return pageOf(session, args, { backward: false })
}

/** RSCAN [cursor]: the same, last entry first. */
export function scanBackward(session: Session, args: Buffer[]): Promise<Reply> {
  return pageOf(session, args, { backward: true })
}

async function pageOf(session: Session, args: Buffer[], direction: { readonly backward: boolean }): Promise<Reply> {
  const page = await session.hosted.namespace.scan(args[1] ?? null, scanBudgetMs, direction)
  if (!page) throw new Refused(ErrorText.noMoreData)
  return [page.cursor, page.entries.map(({ key, valueBytes, timestampSeconds }) => [key, valueBytes, timestampSeconds])]
}

/** KSCAN prefix → ['0', [key…]]: all of them at once. */
export async function scanPrefix(session: Session, args: Buffer[]): Promise<Reply> {
  const { namespace } = session.hosted
  if (namespace.settings.mode === 'sequential') throw new Refused("Index running mode doesn't support this feature")
  exactTwo(args, session)
  const keys = await namespace.walks.keysWith(args[1]!, prefixReplyBytesMax)
  if (keys.length === 0) throw new Refused('No keys match')
  return [Buffer.from('0'), keys]
}
