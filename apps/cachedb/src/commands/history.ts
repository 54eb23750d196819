import type { Reply } from '@qsfs/resp/reply'
import type { Session } from '../session.ts'

/** KEYCUR key → the cursor that SCAN gives behind this key. */
export function keyCursor(session: Session, args: Buffer[]): Promise<Reply> {
  return session.hosted.namespace.walks.cursorOf(args[1]!)
}

/** HISTORY key [position] → [position of the next older version or nil, timestamp as a bulk, value]. */
export async function history(session: Session, args: Buffer[]): Promise<Reply> {
  const { older, timestampSeconds, value } = await session.hosted.namespace.history.read(args[1]!, args[2] ?? null)
  return [older, Buffer.from(String(timestampSeconds)), value]
}
