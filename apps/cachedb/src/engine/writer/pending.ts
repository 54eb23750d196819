import { zdbCrc } from '@qsfs/bytes/checksum'
import { EntryHeader, writeEntryHead } from '../../segment/format.ts'

/** So much is collected before it is written without waiting for the end of the turn. */
export const pendingBytesMax = 128 * 1024
/** A value of this size gains nothing from company: it is written at once, from where it lies. */
export const writtenAtOnceBytes = 16 * 1024

const firstBytes = 4096
const nothing = Buffer.alloc(0)

export type EntryKind = 'value' | 'deletion'

export interface PendingEntry {
  readonly kind: EntryKind
  /** Where its key lies among the bytes pending. */
  readonly keyAt: number
  readonly keyBytes: number
  readonly offsetBytes: number
  readonly valueBytes: number
  readonly valueCrc: number
  readonly timestampSeconds: number
}

/** Entries of one turn of the event loop, encoded one behind the other for the place they will have in the open segment: one write
 *  takes them to the kernel. Until then nothing else knows of them. */
export class Pending {
  #bytes: Buffer = nothing
  #usedBytes = 0
  /** A large value, behind all others; borrowed. */
  #lastValue: Uint8Array = nothing
  #entries: PendingEntry[] = []
  /** Hashes of the keys. */
  readonly #keys = new Set<number>()
  #valueCount = 0
  #written: PromiseWithResolvers<void> | null = null

  /** All entries together. */
  get bytes(): number {
    return this.#usedBytes + this.#lastValue.length
  }

  get valueCount(): number {
    return this.#valueCount
  }

  /** Settles when what is pending now was written, or was not. */
  get written(): Promise<void> {
    this.#written ??= Promise.withResolvers()
    return this.#written.promise
  }

  /** true also, but rarely, for a key that is not there. */
  mayHave(key: Buffer): boolean {
    return this.#keys.size > 0 && this.#keys.has(hashOf(key))
  }

  /** Copies the entry; a value of `writtenAtOnceBytes` is borrowed, and nothing may follow it before `end`.
   *  @param startBytes where the first entry will lie in the segment with this salt */
  add(
    key: Buffer,
    value: Uint8Array,
    timestampSeconds: number,
    kind: EntryKind,
    { salt, startBytes }: { readonly salt: number; readonly startBytes: number },
  ): void {
    const at = this.#usedBytes
    const keyAt = at + EntryHeader.sizeBytes
    const valueAt = keyAt + key.length
    const isCopied = value.length < writtenAtOnceBytes
    this.#reserve(valueAt + (isCopied ? value.length : 0))
    const entry = {
      kind,
      keyAt,
      keyBytes: key.length,
      offsetBytes: startBytes + at,
      valueBytes: value.length,
      valueCrc: zdbCrc(value),
      timestampSeconds,
    }
    writeEntryHead(key, { ...entry, deleted: kind === 'deletion' }, salt, this.#bytes, at)
    if (isCopied) this.#bytes.set(value, valueAt)
    else this.#lastValue = value
    this.#usedBytes = isCopied ? valueAt + value.length : valueAt
    this.#entries.push(entry)
    this.#keys.add(hashOf(key))
    if (kind === 'value') this.#valueCount++
  }

  /** For one write. */
  get parts(): readonly Uint8Array[] {
    const encoded = this.#bytes.subarray(0, this.#usedBytes)
    return this.#lastValue.length === 0 ? [encoded] : [encoded, this.#lastValue]
  }

  /** The write is over, and what is added from now on waits for the next one.
   *  @returns the entries, in order, whose keys `keyOf` tells until the next `add`; and who waited for them */
  end(): { readonly entries: readonly PendingEntry[]; readonly written: PromiseWithResolvers<void> | null } {
    const ended = { entries: this.#entries, written: this.#written }
    this.#usedBytes = 0
    this.#lastValue = nothing
    this.#entries = []
    this.#keys.clear()
    this.#valueCount = 0
    this.#written = null
    return ended
  }

  keyOf({ keyAt, keyBytes }: PendingEntry): Buffer {
    return this.#bytes.subarray(keyAt, keyAt + keyBytes)
  }

  #reserve(neededBytes: number): void {
    if (neededBytes <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(firstBytes, neededBytes, this.#bytes.length * 2))
    this.#bytes.copy(grown, 0, 0, this.#usedBytes)
    this.#bytes = grown
  }
}

/** FNV-1a, cut to what V8 keeps without an object. */
function hashOf(key: Buffer): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key[at]!, 0x01000193)
  return (hash ^ (hash >>> 15)) & 0x3fffffff
}
