import { layout } from '@qsfs/bytes/layout'
import { KeyRefused } from '../../errors.ts'

/** 0-db's cursor: what an entry was, and where. Its "index file" is our segment, its offset that of the data entry. */
const Layout = layout('scan_cursor', 17, {
  keyBytes: [0, 'u8'],
  segmentId: [1, 'u32'],
  valueBytes: [5, 'u32'],
  offsetBytes: [9, 'u32'],
  valueCrc: [13, 'u32'],
})

/** 0-db's position of a version, as HISTORY takes and gives it. */
const Position = layout('history_position', 8, { segmentId: [0, 'u32'], offsetBytes: [4, 'u32'] })

/** Where an entry begins: a segment and the offset in its data file. Places are in append order. */
export interface EntryPlace {
  readonly segmentId: number
  readonly offsetBytes: number
}

export interface Cursor extends EntryPlace {
  readonly keyBytes: number
  readonly valueBytes: number
  readonly valueCrc: number
}

export function encodeCursor(cursor: Cursor): Buffer {
  return Layout.toBuffer(cursor)
}

/** @throws KeyRefused 'Invalid key format' */
export function decodeCursor(bytes: Buffer): Cursor {
  if (bytes.length !== Layout.sizeBytes) throw new KeyRefused('Invalid key format')
  return Layout.decode(bytes)
}

export function encodePosition(place: EntryPlace): Buffer {
  return Position.toBuffer(place)
}

/** null when these are not 8 bytes. */
export function decodePosition(bytes: Buffer): EntryPlace | null {
  return bytes.length === Position.sizeBytes ? Position.decode(bytes) : null
}
