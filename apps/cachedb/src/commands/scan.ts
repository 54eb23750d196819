import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

/** As 0-db: a page is what is found in this time, and one entry at least. */
const scanBudgetMs = 2

/** SCAN [cursor] → [cursor of the last entry, [[key, length, timestamp]…]]. */
export function scan(session: Session, args: Buffer[]): Reply {
  const page = session.hosted.namespace.scan(args[1] ?? null, scanBudgetMs)
  if (!page) throw new Refused(ErrorText.noMoreData)
  return [page.cursor, page.entries.map(({ key, valueBytes, timestampSeconds }) => [key, valueBytes, timestampSeconds])]
}
