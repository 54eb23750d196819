import { layout } from '@qsfs/bytes/layout'

// docs/formats/request-journal.md

/** Every record begins with its length, this header included. */
const RecordHeader = layout('journal record', 8, { lenBytes: [0, 'u32'], kind: [4, 'u8'], reserved: [5, 'bytes', 3] })
const Opened = layout('opened', 16, { magic: [0, 'bytes', 4], version: [4, 'u32'], generation: [8, 'u53'] })
const Answered = layout('answered', 16, { atMicros: [0, 'i53'], requestBytes: [8, 'u32'], padding: [12, 'u32'] })
const Sealed = layout('sealed', 16, { seq: [0, 'u53'], entryCount: [8, 'u53'] })
const NodeIdPlace = layout('node id', 8, { nodeId: [0, 'u53'] })

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

export function encodeRecord(record: JournalRecord): Buffer {
  switch (record.kind) {
    case 'opened': {
      const bytes = framed(Kind.opened, Opened.sizeBytes)
      Opened.encode({ magic, version, generation: record.generation }, bytes, RecordHeader.sizeBytes)
      return bytes
    }
    case 'answered': {
      const { atMicros, request, reply } = record
      const bytes = framed(Kind.answered, Answered.sizeBytes + request.length + reply.length)
      Answered.encode({ atMicros, requestBytes: request.length, padding: 0 }, bytes, RecordHeader.sizeBytes)
      const at = RecordHeader.sizeBytes + Answered.sizeBytes
      bytes.set(request, at)
      bytes.set(reply, at + request.length)
      return bytes
    }
    case 'sealed': {
      const bytes = framed(Kind.sealed, Sealed.sizeBytes)
      Sealed.encode(record, bytes, RecordHeader.sizeBytes)
      return bytes
    }
    default: {
      const { nodeIds } = record
      const bytes = framed(Kind[record.kind], nodeIds.length * NodeIdPlace.sizeBytes)
      for (let i = 0; i < nodeIds.length; i++) {
        NodeIdPlace.encode({ nodeId: nodeIds[i]! }, bytes, RecordHeader.sizeBytes + i * NodeIdPlace.sizeBytes)
      }
      return bytes
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
  const { sizeBytes } = NodeIdPlace
  return Array.from({ length: body.length / sizeBytes }, (_, i) => NodeIdPlace.decode(body, i * sizeBytes).nodeId)
}

/** A record with its header, its body still to be filled in. */
function framed(kind: number, bodyBytes: number): Buffer {
  const lenBytes = RecordHeader.sizeBytes + bodyBytes
  const bytes = Buffer.allocUnsafe(lenBytes)
  RecordHeader.encode({ lenBytes, kind, reserved: noReserve }, bytes)
  return bytes
}
