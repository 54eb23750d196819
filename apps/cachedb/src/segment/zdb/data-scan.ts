import { type Entry, EntryFlag, EntryHeader, FileHeader } from '../format.ts'
import { type ScannedFile, type ScanResult, Window } from '../recover.ts'
import type { IndexFileEntry } from './index-format.ts'

/** What tells an entry of a data file without our check from other bytes. */
export interface ForeignFile {
  /** Where the file ends for us. */
  readonly endBytes: number
  /** Whether the namespace can have this key. */
  isKey(key: Buffer): boolean
  /** What the index says of values in this file, by offset; asked only when an entry is bad. */
  indexed(): readonly IndexFileEntry[]
}

export interface ForeignListener {
  /** Handed views of a big buffer: copy what you keep. */
  entry(entry: Entry): void
  /** The index knows of a value that does not verify: it lies in what was skipped. */
  lost(entry: IndexFileEntry): void
  /** What a compaction tool of 0-db left in the place of a dead entry. */
  leftover(): void
}

/** Reads the entries of a data file that 0-db wrote, in order.
 *  Behind a bad one only places that the index points to are believed: a wrong length leads into values, whose bytes may look
 *  like entries. */
export function scanForeign(file: ScannedFile, foreign: ForeignFile, listener: ForeignListener): ScanResult {
  const endBytes = Math.min(foreign.endBytes, file.sizeBytes)
  const window = new Window(file, endBytes)
  const damage: { fromBytes: number; toBytes: number }[] = []
  let indexed: readonly IndexFileEntry[] | null = null
  let cursor = 0
  let at: number = FileHeader.sizeBytes
  let goodBytes = at
  while (at < endBytes) {
    const found = readAt(window, at, endBytes, foreign)
    if (found !== null) {
      if (found.entry === null) listener.leftover()
      else listener.entry(found.entry)
      at += found.lengthBytes
      goodBytes = at
      continue
    }
    indexed ??= foreign.indexed()
    while (cursor < indexed.length && indexed[cursor]!.offsetBytes < at) cursor++
    while (cursor < indexed.length && readAt(window, indexed[cursor]!.offsetBytes, endBytes, foreign) === null)
      listener.lost(indexed[cursor++]!)
    if (cursor === indexed.length) break
    const next = indexed[cursor]!.offsetBytes
    damage.push({ fromBytes: at, toBytes: next })
    at = next
  }
  return { goodBytes, damage }
}

/** What begins there; an entry of null is what a compaction tool left. null when it is bad. */
function readAt(
  window: Window,
  at: number,
  endBytes: number,
  foreign: ForeignFile,
): { readonly lengthBytes: number; readonly entry: Entry | null } | null {
  const header = window.headerAt(at)
  if (header === null) return null
  if ((header.flags & EntryFlag.truncated) === 0) {
    const entry = window.entryAt(at, null)
    return entry !== null && foreign.isKey(entry.key) ? { lengthBytes: entry.lengthBytes, entry } : null
  }
  // Its key, where it has one, died with its value: nothing is to be applied.
  const lengthBytes = EntryHeader.sizeBytes + header.keyBytes
  const isLeftover = header.valueBytes === 0 && header.valueCrc === 0 && header.flags <= leftoverFlagsMax
  return isLeftover && at + lengthBytes <= endBytes ? { lengthBytes, entry: null } : null
}

const leftoverFlagsMax = EntryFlag.truncated | EntryFlag.deleted
