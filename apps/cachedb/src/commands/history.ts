import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import type { Session } from '../session.ts'

/** KEYCUR key → the cursor that SCAN gives behind this key. */
export function keyCursor(session: Session, args: Buffer[]): Promise<Reply> {
  return session.hosted.namespace.walks.cursorOf(args[1]!)
}

/** HISTORY key [position] → [position of the next older version or nil, timestamp as a bulk, value]. */
export async function history(session: Session, args: Buffer[]): Promise<Reply> {
  const { namespace } = session.hosted
  // How large an older value is, its hint knows, not the keydir.
  session.expectBytes(args.length === 3 ? WireLimit.bulkBytesMax : (namespace.stat(args[1]!)?.valueBytes ?? 0))
  const { older, timestampSeconds, value } = await namespace.history.read(args[1]!, args[2] ?? null)
  return [older, Buffer.from(String(timestampSeconds)), value]
}
