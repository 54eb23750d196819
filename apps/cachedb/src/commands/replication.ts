import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'
import { isWord } from './admin.ts'

// What 0-db's replication tools ask for.

const wordBytesMax = 256

/** DATA RAW segment offset → [key, previous, checksum, flags, timestamp, value or nil for a deletion]. */
export async function data(session: Session, args: Buffer[]): Promise<Reply> {
  requireWord(args[1]!, 'RAW', 'Unknown DATA subcommand')
  if (args.length < 4) throw new Refused('Missing arguments')
  session.expectBytes(WireLimit.bulkBytesMax)
  const place = { segmentId: numberIn(args[2]!), offsetBytes: numberIn(args[3]!) }
  const { key, previous, valueCrc, flags, timestampSeconds, value } = await session.hosted.namespace.rawEntry(place)
  const checksum = `0x${valueCrc.toString(16).padStart(8, '0')}`
  return [key, previous, Buffer.from(checksum), flags, timestampSeconds, value]
}

/** INDEX DIRTY [RESET] → the segments that lost a live value since the last reset, ascending. */
export function index(session: Session, args: Buffer[]): Reply {
  requireWord(args[1]!, 'DIRTY', 'Unknown INDEX subcommand')
  const { dirty } = session.hosted.namespace
  if (args.length !== 3) return dirty.ids()
  requireWord(args[2]!, 'RESET', 'Unknown INDEX DIRTY subcommand')
  dirty.clear()
  return 'OK'
}

function requireWord(argument: Buffer, word: string, otherwise: string): void {
  if (argument.length > wordBytesMax) throw new Refused('Argument too long')
  if (!isWord(argument, word)) throw new Refused(otherwise)
}

/** C's atoll, cut to 32 bits: what is no number is 0. */
function numberIn(argument: Buffer): number {
  const digits = /^\s*[+-]?\d{1,15}/.exec(argument.toString('latin1'))
  return digits === null ? 0 : Number(digits[0]) >>> 0
}
