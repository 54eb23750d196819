import { decodeEntry, entryBytes } from './format.ts'

/** Where a value lies in its segment. */
export interface ValuePlace {
  readonly offsetBytes: number
  readonly valueBytes: number
}

/** One segment's file, for positional reads. Each read verifies the whole entry: header, key and value.
 *  @returns the value, in memory of its own; null when what lies there is not the entry asked for */
export interface SegmentReader extends Disposable {
  read(key: Uint8Array, place: ValuePlace): Promise<Buffer | null> | Buffer | null
  /** The same at once, blocking the loop: for bytes that are in the page cache. */
  readSync(key: Uint8Array, place: ValuePlace): Buffer | null
}

export function lengthOf(key: Uint8Array, { valueBytes }: ValuePlace): number {
  return entryBytes(key.length, valueBytes)
}

/** The value in these bytes of an entry, if they are that entry. */
export function verifiedValue(bytes: Buffer, key: Uint8Array, place: ValuePlace, salt: number | null): Buffer | null {
  const entry = decodeEntry(bytes, 0, { salt, offsetBytes: place.offsetBytes })
  if (entry === null || entry.deleted || entry.value.length !== place.valueBytes || !entry.key.equals(key)) return null
  return entry.value
}
