import type { Values } from '@qsfs/bytes/layout'
import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { decodeEntry, type Entry, EntryHeader, entryBytes, FileHeader } from './format.ts'

/** Bytes read at once; more only for an entry that is longer. 16 MiB each time are fresh pages each time: 210 ms of kernel time for
 *  256 MiB in place of 50. */
const windowBytes = 1024 * 1024

/** What a scan needs of a file. */
export interface ScannedFile {
  readonly sizeBytes: number
  readSync(offsetBytes: number, lengthBytes: number): Buffer
}

export interface ScanResult {
  /** Where the last good entry ends: behind it nothing counts. */
  readonly goodBytes: number
  /** Ranges that were once on disk and no longer verify; their entries are lost, those around them are not. */
  readonly damage: readonly { readonly fromBytes: number; readonly toBytes: number }[]
}

/** Reads the entries of a segment in order.
 *  The first bad entry ends it, unless it lies below `syncedBytes`: what was on disk and is damaged is skipped up to the next
 *  entry that verifies. The reverse would keep entries behind a hole in bytes that never reached the disk.
 *  @param bounds `endBytes`: where the segment is known to end, else the end of the file; `syncedBytes`: the end of an entry
 *  @param each is handed views of a big buffer: copy what you keep */
export function scanEntries(
  file: ScannedFile,
  salt: number | null,
  bounds: { readonly syncedBytes: number; readonly endBytes?: number },
  each: (entry: Entry) => void,
): ScanResult {
  const endBytes = Math.min(bounds.endBytes ?? file.sizeBytes, file.sizeBytes)
  const syncedBytes = Math.min(bounds.syncedBytes, endBytes)
  const window = new Window(file, endBytes)
  const damage: { fromBytes: number; toBytes: number }[] = []
  let at: number = FileHeader.sizeBytes
  let goodBytes = at
  while (at < endBytes) {
    const entry = window.entryAt(at, salt)
    if (entry !== null) {
      each(entry)
      at += entry.lengthBytes
      goodBytes = at
      continue
    }
    // Without our check a wrong length would lead into payload bytes that look like entries: no skipping there.
    if (at >= syncedBytes || salt === null) break
    const from = at
    at = nextGood(window, at + 1, syncedBytes, salt)
    goodBytes = at
    damage.push({ fromBytes: from, toBytes: at })
  }
  return { goodBytes, damage }
}

function nextGood(window: Window, from: number, syncedBytes: number, salt: number): number {
  for (let at = from; at < syncedBytes; at++) if (window.mayBeginAt(at) && window.entryAt(at, salt) !== null) return at
  // An entry begins there if one was appended after the sync.
  return syncedBytes
}

/** A stretch of the file in memory, moved on as needed. */
export class Window {
  readonly #file: ScannedFile
  readonly #endBytes: number
  #bytes: Buffer = Buffer.alloc(0)
  #startBytes = 0

  constructor(file: ScannedFile, endBytes: number) {
    this.#file = file
    this.#endBytes = endBytes
  }

  entryAt(offsetBytes: number, salt: number | null): Entry | null {
    this.#cover(offsetBytes, EntryHeader.sizeBytes)
    const at = offsetBytes - this.#startBytes
    if (at + EntryHeader.sizeBytes > this.#bytes.length) return null
    const { keyBytes, valueBytes } = EntryHeader.decode(this.#bytes, at)
    if (valueBytes > WireLimit.bulkBytesMax) return null
    this.#cover(offsetBytes, entryBytes(keyBytes, valueBytes))
    return decodeEntry(this.#bytes, offsetBytes - this.#startBytes, { salt, offsetBytes })
  }

  /** What would be a header there; null behind the end. */
  headerAt(offsetBytes: number): Values<typeof EntryHeader> | null {
    this.#cover(offsetBytes, EntryHeader.sizeBytes)
    const at = offsetBytes - this.#startBytes
    return at + EntryHeader.sizeBytes > this.#bytes.length ? null : EntryHeader.decode(this.#bytes, at)
  }

  /** Cheap: sorts out nearly all places of a damaged stretch before a checksum is computed. */
  mayBeginAt(offsetBytes: number): boolean {
    const header = this.headerAt(offsetBytes)
    return header !== null && header.keyBytes !== 0 && header.valueBytes <= WireLimit.bulkBytesMax
  }

  #cover(offsetBytes: number, lengthBytes: number): void {
    const wantedEnd = Math.min(offsetBytes + lengthBytes, this.#endBytes)
    if (offsetBytes >= this.#startBytes && wantedEnd <= this.#startBytes + this.#bytes.length) return
    this.#bytes = this.#file.readSync(
      offsetBytes,
      Math.min(Math.max(windowBytes, lengthBytes), this.#endBytes - offsetBytes),
    )
    this.#startBytes = offsetBytes
  }
}
