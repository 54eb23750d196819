import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../format.ts'

/** 0-db's index file `i<N>`, version 4, as docs/formats/zdb.md draws it. */
export const IndexHeader = layout('zdb_index_header', 29, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  created: [8, 'u64'],
  opened: [16, 'u64'],
  fileId: [24, 'u32'],
  mode: [28, 'u8'],
})

/** Before each key. */
export const IndexEntry = layout('zdb_index_entry', 34, {
  keyBytes: [0, 'u8'],
  offsetBytes: [1, 'u32'],
  valueBytes: [5, 'u32'],
  /** Offset of the index entry appended before, in whatever file that is. */
  previous: [9, 'u32'],
  flags: [13, 'u8'],
  dataId: [14, 'u32'],
  timestampSeconds: [18, 'u32'],
  valueCrc: [22, 'u32'],
  parentId: [26, 'u32'],
  parentOffset: [30, 'u32'],
})

/** Deleted, or superseded by a later entry. */
export const indexEntryDead = 1
/** An entry of a sequential namespace: its key is an id of 8 bytes. */
export const slotBytes = IndexEntry.sizeBytes + 8

const magic = Buffer.from('IDX0')
const version = 4

export type ZdbMode = 'user' | 'sequential'

export interface IndexFileEntry {
  /** In its index file. */
  readonly at: number
  readonly key: Buffer
  readonly isDead: boolean
  readonly dataId: number
  readonly offsetBytes: number
  readonly valueBytes: number
  readonly valueCrc: number
  readonly timestampSeconds: number
}

export function encodeIndexHeader(fileId: number, mode: ZdbMode): Buffer {
  const numbers = { version, created: 0n, opened: 0n, fileId, mode: mode === 'sequential' ? 1 : 0 }
  return IndexHeader.toBuffer({ magic, ...numbers })
}

/** @throws FormatError when this is no index file of 0-db's version 4 */
export function decodeIndexHeader(bytes: Buffer): { readonly fileId: number; readonly mode: ZdbMode } {
  if (bytes.length < IndexHeader.sizeBytes) throw new FormatError(`the index header ends after ${bytes.length} bytes`)
  const header = IndexHeader.decode(bytes)
  if (!header.magic.equals(magic)) throw new FormatError('the index file does not begin with IDX0')
  if (header.version !== version) throw new FormatError(`the index file has version ${header.version}, not ${version}`)
  if (header.mode > 1) throw new FormatError(`the index file has mode ${header.mode}`)
  return { fileId: header.fileId, mode: header.mode === 1 ? 'sequential' : 'user' }
}

/** The entries of a whole index file, up to one that is torn. Keys are views. */
export function* indexEntries(file: Buffer): Generator<IndexFileEntry> {
  const { fileId, mode } = decodeIndexHeader(file)
  for (let at: number = IndexHeader.sizeBytes; at + IndexEntry.sizeBytes <= file.length; ) {
    const entry = IndexEntry.decode(file, at)
    const keyAt = at + IndexEntry.sizeBytes
    const endAt = keyAt + entry.keyBytes
    if (endAt > file.length) return
    yield {
      at,
      key: file.subarray(keyAt, endAt),
      isDead: (entry.flags & indexEntryDead) !== 0,
      // 0-db writes 0 for a key that is new in user mode, whatever the file.
      dataId: mode === 'user' ? fileId : entry.dataId,
      offsetBytes: entry.offsetBytes,
      valueBytes: entry.valueBytes,
      valueCrc: entry.valueCrc,
      timestampSeconds: entry.timestampSeconds,
    }
    at = endAt
  }
}
