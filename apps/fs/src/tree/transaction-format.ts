import { crc32c } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { KiB, MiB } from '@qsfs/bytes/units'
import type { BlockId } from '../store/store.ts'

/** One atomic change of the tree, as it is stored (docs/formats/transaction.md). */
export interface Transaction {
  /** The mount that wrote it: what an older mount left behind is void. */
  readonly session: number
  /** Position in the log, from 0, without gaps. */
  readonly seq: number
  /** The new bytes of every record it touches; null: the record is absent from now on. */
  readonly records: ReadonlyMap<string, Buffer | null>
  /** Blocks that are named from now on: without them on disk the transaction is void. */
  readonly adds: readonly BlockId[]
  /** Blocks that nothing names from now on; deleted once the transaction is on disk. */
  readonly frees: readonly BlockId[]
}

/** What a transaction is kept below, and what one operation may add to it. */
export const TransactionLimit = { bytes: MiB, operationBytes: 64 * KiB, recordBytes: 64 * KiB } as const

/** The largest value a store takes: nothing longer is believed. */
const storedBytesMax = 8 * MiB
const magic = Buffer.from('QTXN', 'latin1')
const version = 1
const checksumBytes = 4
const idBytes = 8
/** In `valueBytes`: the record is absent. */
const absent = 0xffff_ffff

const Header = layout('transaction', 40, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  reserved: [6, 'u16'],
  session: [8, 'u53'],
  seq: [16, 'u53'],
  totalBytes: [24, 'u32'],
  recordCount: [28, 'u32'],
  addCount: [32, 'u32'],
  freeCount: [36, 'u32'],
})

const RecordHeader = layout('transaction_record', 6, {
  valueBytes: [0, 'u32'],
  keyBytes: [4, 'u16'],
})

/** Bytes of a record with this key and value inside a transaction. */
export function recordBytes(key: string, value: Buffer | null): number {
  return RecordHeader.sizeBytes + key.length + (value?.length ?? 0)
}

/** Header ‖ adds ‖ frees ‖ records ‖ CRC-32C of all before it. */
export function encodeTransaction(transaction: Transaction): Buffer {
  const { session, seq, records, adds, frees } = transaction
  let totalBytes = Header.sizeBytes + (adds.length + frees.length) * idBytes + checksumBytes
  for (const [key, value] of records) totalBytes += recordBytes(key, value)
  // More than the limit of one transaction is bad manners; more than a value can hold would be lost.
  if (totalBytes > storedBytesMax) throw new RangeError(`a transaction of ${totalBytes} bytes cannot be stored`)
  const target = Buffer.allocUnsafeSlow(totalBytes)
  const counts = { recordCount: records.size, addCount: adds.length, freeCount: frees.length }
  Header.encode({ magic, version, reserved: 0, session, seq, totalBytes, ...counts }, target)
  let at = Header.sizeBytes
  for (const id of adds) at = target.writeBigUInt64LE(BigInt(id), at)
  for (const id of frees) at = target.writeBigUInt64LE(BigInt(id), at)
  for (const [key, value] of records) {
    RecordHeader.encode({ valueBytes: value === null ? absent : value.length, keyBytes: key.length }, target, at)
    at += RecordHeader.sizeBytes
    at += target.write(key, at, 'latin1')
    if (value !== null) at += value.copy(target, at)
  }
  target.writeUInt32LE(crc32c(target.subarray(0, at)), at)
  return target
}

/** The transaction in `bytes`, its records views of them; null: this is no whole transaction of this version. */
export function decodeTransaction(bytes: Buffer): Transaction | null {
  if (bytes.length < Header.sizeBytes + checksumBytes || bytes.length > storedBytesMax) return null
  const end = bytes.length - checksumBytes
  if (crc32c(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) return null
  const header = Header.decode(bytes)
  if (!header.magic.equals(magic) || header.version !== version || header.totalBytes !== bytes.length) return null
  if ((header.addCount + header.freeCount) * idBytes > end - Header.sizeBytes) return null
  let at = Header.sizeBytes
  const readIds = (count: number): BlockId[] => {
    const ids: BlockId[] = []
    for (; count > 0; count--, at += idBytes) ids.push(Number(bytes.readBigUInt64LE(at)))
    return ids
  }
  const adds = readIds(header.addCount)
  const frees = readIds(header.freeCount)
  const records = new Map<string, Buffer | null>()
  for (let i = 0; i < header.recordCount; i++) {
    if (at + RecordHeader.sizeBytes > end) return null
    const { valueBytes, keyBytes } = RecordHeader.decode(bytes, at)
    const valueAt = at + RecordHeader.sizeBytes + keyBytes
    at = valueAt + (valueBytes === absent ? 0 : valueBytes)
    if (at > end) return null
    const key = bytes.toString('latin1', valueAt - keyBytes, valueAt)
    records.set(key, valueBytes === absent ? null : bytes.subarray(valueAt, at))
  }
  if (at !== end || records.size !== header.recordCount) return null
  return { session: header.session, seq: header.seq, records, adds, frees }
}
