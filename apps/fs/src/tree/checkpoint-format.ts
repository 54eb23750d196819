import { crc32c } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { MiB } from '@qsfs/bytes/units'
import type { BlockId } from '../store/store.ts'

/** Where a mount begins: the record `c` (docs/formats/checkpoint.md). */
export interface Checkpoint {
  /** The mount that wrote it; only transactions of this session are replayed. */
  readonly session: number
  /** Position of the oldest transaction whose changes are not all in the home records. */
  readonly tail: number
  /** Every block id from here on belongs to a transaction from `tail` on, or to nothing. */
  readonly dataNext: BlockId
  /** Ids below `dataNext` that no transaction before `tail` names. */
  readonly loose: readonly BlockId[]
}

const magic = Buffer.from('QCKP', 'latin1')
const version = 1
const checksumBytes = 4
const idBytes = 8
const storedBytesMax = 8 * MiB

const Header = layout('checkpoint', 36, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  reserved: [6, 'u16'],
  session: [8, 'u53'],
  tail: [16, 'u53'],
  dataNext: [24, 'u53'],
  looseCount: [32, 'u32'],
})

/** Header ‖ loose ids ‖ CRC-32C of all before it. */
export function encodeCheckpoint({ session, tail, dataNext, loose }: Checkpoint): Buffer {
  const totalBytes = Header.sizeBytes + loose.length * idBytes + checksumBytes
  if (totalBytes > storedBytesMax)
    throw new RangeError(`a checkpoint with ${loose.length} loose blocks cannot be stored`)
  const target = Buffer.allocUnsafeSlow(totalBytes)
  Header.encode({ magic, version, reserved: 0, session, tail, dataNext, looseCount: loose.length }, target)
  let at: number = Header.sizeBytes
  for (const id of loose) at = target.writeBigUInt64LE(BigInt(id), at)
  target.writeUInt32LE(crc32c(target.subarray(0, at)), at)
  return target
}

/** null: these bytes are no checkpoint of this version, or damaged. */
export function decodeCheckpoint(bytes: Buffer): Checkpoint | null {
  if (bytes.length < Header.sizeBytes + checksumBytes || bytes.length > storedBytesMax) return null
  const end = bytes.length - checksumBytes
  if (crc32c(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return null
  const { session, tail, dataNext, looseCount, ...rest } = Header.decode(bytes)
  if (!rest.magic.equals(magic) || rest.version !== version) return null
  if (Header.sizeBytes + looseCount * idBytes !== end) return null
  const loose: BlockId[] = []
  for (let at = Header.sizeBytes; at < end; at += idBytes) loose.push(Number(bytes.readBigUInt64LE(at)))
  return { session, tail, dataNext, loose }
}
