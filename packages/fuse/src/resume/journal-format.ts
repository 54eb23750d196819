import { layout } from '@qsfs/bytes/layout'

// docs/formats/request-journal.md

/** Every record begins with its length, this header included. */
const RecordHeader = layout('journal record', 8, { lenBytes: [0, 'u32'], kind: [4, 'u8'], reserved: [5, 'bytes', 3] })
const Opened = layout('opened', 16, { magic: [0, 'bytes', 4], version: [4, 'u32'], generation: [8, 'u53'] })
const Answered = layout('answered', 16, { atMicros: [0, 'i53'], requestBytes: [8, 'u32'], padding: [12, 'u32'] })
const Sealed = layout('sealed', 16, { seq: [0, 'u53'], entryCount: [8, 'u53'] })
const nodeIdBytes = 8

const Kind = { opened: 1, answered: 2, forgotten: 3, sealed: 4, unstored: 5, lost: 6 } as const
const kinds: ReadonlySet<number> = new Set(Object.values(Kind))
const magic = Buffer.from('QJNL')
const version = 1
const noReserve = Buffer.alloc(3)

/** One record. `answered` and `forgotten` are the entries that `sealed` counts.
 *  - opened: first in its file; the file with the higher generation is the newer one.
 *  - answered: a request that changed something, when that was, and its reply.
 *  - forgotten: the kernel let go of a node that has no name.
 *  - sealed: the first `entryCount` entries of this file belong to transactions up to `seq`.
 *  - unstored: these files have bytes that no transaction up to the last seal names.
 *  - lost: these files lost such bytes when an earlier process died, and not all who have them open know yet. */
export type JournalRecord =
  | { readonly kind: 'opened'; readonly generation: number }
  | { readonly kind: 'answered'; readonly atMicros: number; readonly request: Buffer; readonly reply: Buffer }
  | { readonly kind: 'forgotten'; readonly nodeIds: readonly number[] }
  | { readonly kind: 'unstored' | 'lost'; readonly nodeIds: readonly number[] }
  | { readonly kind: 'sealed'; readonly seq: number; readonly entryCount: number }

/** Of the record that every file begins with. */
export const openedRecordBytes = RecordHeader.sizeBytes + Opened.sizeBytes

/** @returns the record in pieces, for one gathering write */
export function encodeRecord(record: JournalRecord): readonly Buffer[] {
  switch (record.kind) {
    case 'opened': {
      return framed(Kind.opened, [Opened.toBuffer({ magic, version, generation: record.generation })])
    }
    case 'answered': {
      const { atMicros, request, reply } = record
      const head = Answered.toBuffer({ atMicros, requestBytes: request.length, padding: 0 })
      return framed(Kind.answered, [head, request, reply])
    }
    case 'sealed':
      return framed(Kind.sealed, [Sealed.toBuffer(record)])
    default: {
      const ids = Buffer.allocUnsafe(record.nodeIds.length * nodeIdBytes)
      for (const [i, nodeId] of record.nodeIds.entries()) ids.writeBigUInt64LE(BigInt(nodeId), i * nodeIdBytes)
      return framed(Kind[record.kind], [ids])
    }
  }
}

/** All whole records of a file. A process that is killed in the middle of a write leaves half a record, the last one.
 *  @throws RangeError when it is not a journal of ours */
export function decodeRecords(bytes: Buffer): JournalRecord[] {
  const records: JournalRecord[] = []
  for (let at = 0; bytes.length - at >= RecordHeader.sizeBytes; ) {
    const { lenBytes, kind, reserved } = RecordHeader.decode(bytes, at)
    if (lenBytes < RecordHeader.sizeBytes || !kinds.has(kind) || !reserved.equals(noReserve)) {
      throw new RangeError(`no journal record at byte ${at}`)
    }
    if (lenBytes > bytes.length - at) break
    records.push(decodeBody(kind, bytes.subarray(at + RecordHeader.sizeBytes, at + lenBytes)))
    at += lenBytes
  }
  return records
}

/** @throws RangeError when it is none of this version */
function decodeBody(kind: number, body: Buffer): JournalRecord {
  switch (kind) {
    case Kind.opened: {
      const opened = Opened.decode(body)
      if (!opened.magic.equals(magic) || opened.version !== version) throw new RangeError('not a journal of version 1')
      return { kind: 'opened', generation: opened.generation }
    }
    case Kind.answered: {
      const { atMicros, requestBytes } = Answered.decode(body)
      const end = Answered.sizeBytes + requestBytes
      return { kind: 'answered', atMicros, request: body.subarray(Answered.sizeBytes, end), reply: body.subarray(end) }
    }
    case Kind.sealed: {
      const { seq, entryCount } = Sealed.decode(body)
      return { kind: 'sealed', seq, entryCount }
    }
    case Kind.forgotten:
      return { kind: 'forgotten', nodeIds: nodeIdsIn(body) }
    case Kind.unstored:
      return { kind: 'unstored', nodeIds: nodeIdsIn(body) }
    case Kind.lost:
      return { kind: 'lost', nodeIds: nodeIdsIn(body) }
    default:
      throw new RangeError(`a journal record of kind ${kind}`)
  }
}

function nodeIdsIn(body: Buffer): number[] {
  return Array.from({ length: body.length / nodeIdBytes }, (_, i) => Number(body.readBigUInt64LE(i * nodeIdBytes)))
}

function framed(kind: number, parts: readonly Buffer[]): readonly Buffer[] {
  let lenBytes = RecordHeader.sizeBytes
  for (const part of parts) lenBytes += part.length
  return [RecordHeader.toBuffer({ lenBytes, kind, reserved: noReserve }), ...parts]
}
