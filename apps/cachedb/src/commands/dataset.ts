import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { type Reply, type ReplyOrError, RespError } from '@qsfs/resp/reply'
import type { MaybePromise, Namespace } from '../engine/namespace.ts'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

/** An MGET of 1,023 full values would be an 8 GiB reply. */
const multiGetBytesMax = 64 * 1024 * 1024
/** Of those, what is read while everybody waits; the rest is left to threads. */
const multiGetBytesAtOnce = 1024 * 1024

/** SET key value [timestamp] → the key, or nil when it has that value already. */
export function set(session: Session, args: Buffer[]): MaybePromise<Reply> {
  const { namespace } = session.hosted
  const key = namespace.putInBatch(args[1]!, args[2]!, args[3] && timestampSeconds(args[3]))
  // Unchanged is no news, but it may be as unsynced as the SET before it.
  return session.server.syncEachWrite ? onDisk(namespace, key) : key
}

/** DEL key [timestamp] */
export function del(session: Session, args: Buffer[]): MaybePromise<Reply> {
  const { namespace } = session.hosted
  const deleted = namespace.deleteInBatch(args[1]!, args[2] && timestampSeconds(args[2]))
  const reply = deleted instanceof Promise ? deleted.then(() => 'OK') : 'OK'
  return session.server.syncEachWrite ? onDisk(namespace, reply) : reply
}

/** The reply of a change, once a sync that began behind it has ended. */
async function onDisk(namespace: Namespace, reply: MaybePromise<Reply>): Promise<Reply> {
  const [changed] = await Promise.all([reply, namespace.sync()])
  return changed
}

export function get(session: Session, args: Buffer[]): MaybePromise<Reply> {
  const { namespace } = session.hosted
  const value = namespace.get(args[1]!, coldRule(session))
  if (value instanceof Promise) session.expectBytes(namespace.stat(args[1]!)?.valueBytes ?? 0)
  return value
}

/** GETRANGE key offset length → the part of the value that exists there; nil when the key does not live. */
export function getRange(session: Session, args: Buffer[]): MaybePromise<Reply> {
  const [offsetBytes, lengthBytes] = [count(args[2]!), count(args[3]!)]
  const partBytes = Math.min(lengthBytes, WireLimit.bulkBytesMax)
  const { namespace } = session.hosted
  const part = namespace.getRange(args[1]!, offsetBytes, partBytes, coldRule(session))
  if (part instanceof Promise) session.expectBytes(Math.min(partBytes, namespace.stat(args[1]!)?.valueBytes ?? 0))
  return part
}

/** MGET key… → per key what GET would answer, errors included. */
export function multiGet(session: Session, args: Buffer[]): MaybePromise<Reply> {
  const keys = args.slice(1)
  const { namespace } = session.hosted
  const replyBytes = keys.reduce((sum, key) => sum + (namespace.stat(key)?.valueBytes ?? 0), 0)
  if (replyBytes > multiGetBytesMax) throw new Refused(`ERR reply would be over ${multiGetBytesMax} bytes`)
  let atOnceBytes = 0
  const values = keys.map(key => {
    const value = getOne(session, key, atOnceBytes < multiGetBytesAtOnce)
    if (Buffer.isBuffer(value)) atOnceBytes += value.length
    return value
  })
  if (!values.some(value => value instanceof Promise)) return values as ReplyOrError[]
  session.expectBytes(replyBytes)
  return Promise.all(values)
}

function getOne(session: Session, key: Buffer, atOnce: boolean): MaybePromise<ReplyOrError> {
  const asElement = (error: unknown) => {
    if (error instanceof RespError) return session.told(error)
    throw error
  }
  try {
    const value = session.hosted.namespace.get(key, { ...coldRule(session), atOnce })
    return value instanceof Promise ? value.catch(asElement) : value
  } catch (error) {
    return asElement(error)
  }
}

export function exists(session: Session, args: Buffer[]): Reply {
  return session.hosted.namespace.stat(args[1]!) ? 1 : 0
}

/** CHECK key → 1 good, 0 damaged, -1 unreadable, nil when the key does not live. */
export function check(session: Session, args: Buffer[]): MaybePromise<Reply> {
  return session.hosted.namespace.check(args[1]!)
}

export function length(session: Session, args: Buffer[]): Reply {
  return session.hosted.namespace.stat(args[1]!)?.valueBytes ?? null
}

export function keyTime(session: Session, args: Buffer[]): Reply {
  return session.hosted.namespace.stat(args[1]!)?.timestampSeconds ?? null
}

/** An owner has other reads under way on its connection and warms the segment itself; anybody else waits. */
function coldRule(session: Session): { readonly cold: 'fail' | 'wait' } {
  return session.isOwner(session.hosted) ? coldFails : coldWaits
}

const coldFails = { cold: 'fail' } as const
const coldWaits = { cold: 'wait' } as const

/** C's atoll, cut to 32 bits: garbage is 0, -1 is 4294967295. */
function timestampSeconds(text: Buffer): number {
  const digits = /^\s*[+-]?\d{1,19}/.exec(text.toString('latin1'))
  return digits ? Number(BigInt.asUintN(32, BigInt(digits[0].trim().replace('+', '')))) : 0
}

function count(text: Buffer): number {
  const digits = text.toString('latin1')
  if (!/^\d{1,15}$/.test(digits)) throw new Refused('Invalid argument')
  return Number(digits)
}
