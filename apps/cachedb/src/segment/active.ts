import { zdbCrc } from '@qsfs/bytes/checksum'
import { encodeEntryHead, encodeFileHeader, FileHeader, type SegmentIdentity } from './format.ts'
import { HintEntries, type HintRecord, hintRecords, type Tombstone } from './hint-format.ts'
import { lengthOf, type SegmentReader, type ValuePlace, verifiedValue } from './reader.ts'
import { type AppendFile, appendWhole, type Storage } from './storage.ts'

/** The one file of a namespace that is open for append, with the hint of what it holds so far. */
export class ActiveSegment implements SegmentReader {
  readonly segmentId: number
  readonly salt: number
  readonly #file: AppendFile
  #sizeBytes: number
  #syncedBytes: number
  #entries: HintEntries
  #broken = false
  #finished = false
  /** Syncs of one file never overlap: the kernel tells only one of them that bytes were lost. */
  #lastSync: Promise<void> = Promise.resolve()
  /** Once a sync failed, another one would succeed and mean nothing. */
  #syncFailure: unknown = null

  private constructor(
    file: AppendFile,
    identity: { segmentId: number; salt: number },
    entries: HintEntries,
    syncedBytes: number,
  ) {
    this.#file = file
    this.segmentId = identity.segmentId
    this.salt = identity.salt
    this.#entries = entries
    this.#sizeBytes = file.sizeBytes
    this.#syncedBytes = syncedBytes
  }

  /** Makes the file with its header; nothing is left of it on failure.
   *  @throws StorageError */
  static create(storage: Storage, path: string, identity: SegmentIdentity & { salt: number }): ActiveSegment {
    // A file of that name is no segment of ours: the manifest would know it.
    storage.remove(path)
    const file = storage.openAppend(path)
    try {
      appendWhole(file, [encodeFileHeader(identity)])
      return new ActiveSegment(file, identity, new HintEntries(), 0)
    } catch (error) {
      file[Symbol.dispose]()
      storage.remove(path)
      throw error
    }
  }

  /** Goes on with a file that is whole and on disk. */
  static reopen(
    storage: Storage,
    path: string,
    identity: { segmentId: number; salt: number },
    entries: HintEntries,
  ): ActiveSegment {
    const file = storage.openAppend(path)
    return new ActiveSegment(file, identity, entries, file.sizeBytes)
  }

  /** What was appended, in order. */
  get entries(): HintEntries {
    return this.#entries
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** A lower bound of what is on disk, always at the end of an entry. */
  get syncedBytes(): number {
    return this.#syncedBytes
  }

  get isEmpty(): boolean {
    return this.#sizeBytes === FileHeader.sizeBytes
  }

  /** false after a failed append that could not be taken back: the segment ends before it. */
  get appendable(): boolean {
    return !this.#broken && !this.#finished
  }

  /** Appends one entry: in the kernel when it returns. A short write is taken back at once.
   *  @param tombstone of a deletion; null for a value
   *  @param copied it was appended before, to another segment
   *  @throws StorageError; the segment is then as before, or no longer `appendable` */
  append(
    key: Uint8Array,
    value: Uint8Array,
    timestampSeconds: number,
    tombstone: Tombstone | null,
    { copied = false }: { readonly copied?: boolean } = {},
  ): { readonly offsetBytes: number; readonly valueCrc: number } {
    const offsetBytes = this.#sizeBytes
    const valueCrc = zdbCrc(value)
    const fields = { valueBytes: value.length, valueCrc, deleted: tombstone !== null, copied, timestampSeconds }
    const head = encodeEntryHead(key, fields, { salt: this.salt, offsetBytes })
    this.appendEncoded(value.length > 0 ? [head, value] : [head])
    this.note({
      key: head.subarray(head.length - key.length),
      offsetBytes,
      valueBytes: value.length,
      valueCrc,
      timestampSeconds,
      tombstone,
      copied,
    })
    return { offsetBytes, valueCrc }
  }

  /** Appends entries that were encoded for this place, all or none; each is then to be `note`d.
   *  @throws StorageError; the segment is then as before, or no longer `appendable` */
  appendEncoded(parts: readonly Uint8Array[]): void {
    try {
      appendWhole(this.#file, parts)
    } catch (error) {
      this.#broken = this.#file.sizeBytes !== this.#sizeBytes
      throw error
    }
    this.#sizeBytes = this.#file.sizeBytes
  }

  /** Of an entry that was appended, for the hint. */
  note(record: HintRecord): void {
    this.#entries.add(record)
  }

  /** Everything appended before the call is on disk when it settles. After a failure it fails for ever: a failed fsync is never
   *  repeated on its file.
   *  @throws StorageError */
  sync(): Promise<void> {
    // All that was appended by its end is covered by the last sync of a finished segment.
    if (this.#finished) return this.#lastSync
    return this.#syncNext()
  }

  /** Ends the appending, and begins the last sync. */
  finish(): void {
    if (this.#finished) return
    const last = this.#syncNext()
    last.catch(() => {})
    this.#finished = true
    this.#lastSync = last
  }

  /** Cuts off what is not known to be on disk. */
  truncateToSynced(): void {
    this.#file.truncate(this.#syncedBytes)
    this.#sizeBytes = this.#syncedBytes
    const kept = new HintEntries()
    for (const record of hintRecords(this.#entries.bytes)) if (record.offsetBytes < this.#syncedBytes) kept.add(record)
    this.#entries = kept
  }

  /** Takes off what is left of an append that failed and could not be taken back at once.
   *  @throws StorageError */
  trim(): void {
    if (this.#file.sizeBytes > this.#sizeBytes) this.#file.truncate(this.#sizeBytes)
  }

  read(key: Uint8Array, place: ValuePlace): Buffer | null {
    return this.readSync(key, place)
  }

  readSync(key: Uint8Array, place: ValuePlace): Buffer | null {
    return verifiedValue(this.#file.readSync(place.offsetBytes, lengthOf(key, place)), key, place, this.salt)
  }

  #syncNext(): Promise<void> {
    const next = this.#lastSync.then(async () => {
      if (this.#syncFailure !== null) throw this.#syncFailure
      const sizeBytes = this.#sizeBytes
      try {
        await this.#file.sync()
      } catch (error) {
        this.#syncFailure = error
        throw error
      }
      this.#syncedBytes = Math.max(this.#syncedBytes, sizeBytes)
    })
    this.#lastSync = next.catch(() => {})
    return next
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]()
  }
}
