import type { Reply } from '@qsfs/resp/client'
import type { BlockId } from './store.ts'

/** A sequential key: the id as u64, little-endian. */
export function blockKey(id: BlockId): Buffer {
  const key = Buffer.allocUnsafe(8)
  key.writeBigUInt64LE(BigInt(id))
  return key
}

/** The id in the answer to an insert.
 *  @throws TypeError when it is no sequential key */
export function blockIdOf(reply: Reply): BlockId {
  if (!Buffer.isBuffer(reply) || reply.length !== 8) throw new TypeError('an insert was not answered with an id')
  return Number(reply.readBigUInt64LE())
}
