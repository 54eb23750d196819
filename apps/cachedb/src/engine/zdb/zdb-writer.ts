import { join } from 'node:path'
import { zdbCrc } from '@qsfs/bytes/checksum'
import { layout } from '@qsfs/bytes/layout'
import { EntryFlag, EntryHeader, entryBytes, FileHeader } from '../../segment/format.ts'
import { type AppendFile, appendWhole, type Storage } from '../../segment/storage.ts'
import { encodeIndexHeader, IndexEntry, indexEntryDead, type ZdbMode } from '../../segment/zdb/index-format.ts'
import { encodeId } from '../keydir/keydir-sequential.ts'

/** 0-db's own data file header: the fields that hold our check are 0. */
const DataHeader = layout('zdb_data_header', 28, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  created: [8, 'u64'],
  opened: [16, 'u64'],
  fileId: [24, 'u32'],
})
const magic = Buffer.from('DAT0')
const version = 3
const nothing = Buffer.alloc(0)
/** Appended at once. */
const batchBytes = 1024 * 1024

export interface ZdbWriterOptions {
  readonly dataDirectory: string
  readonly indexDirectory: string
  readonly mode: ZdbMode
  /** A data file that would grow past this is left, and the next pair begun; at most 2 GiB. */
  readonly fileBytesMax: number
}

/** Writes data and index files of one namespace as 0-db would have: `d0` and `i0`, `d1` and `i1`, … Everything is on disk after
 *  `finish`. */
export class ZdbWriter {
  readonly #storage: Storage
  readonly #options: ZdbWriterOptions
  #fileId = 0
  #data: Output
  #index: Output
  /** Offsets of the entries written last, in whatever file. */
  #previousData = 0
  #previousIndex = 0

  constructor(storage: Storage, options: ZdbWriterOptions) {
    this.#storage = storage
    this.#options = options
    this.#data = this.#openData()
    this.#index = this.#openIndex()
  }

  /** A live value; in sequential mode of the id that is next. */
  async value(key: Buffer, value: Buffer, timestampSeconds: number): Promise<void> {
    const lengthBytes = entryBytes(key.length, value.length)
    const isEmpty = this.#data.sizeBytes === FileHeader.sizeBytes
    if (!isEmpty && this.#data.sizeBytes + lengthBytes > this.#options.fileBytesMax) await this.#jump()
    this.#append(key, value, timestampSeconds, 0)
  }

  /** An id of a sequential namespace that no longer lives, or never was a key: 0-db counts the places of its index. In the data it
   *  is an empty value that was deleted, so that an index made from the data counts it as well. */
  async deadId(id: number, timestampSeconds: number): Promise<void> {
    const key = encodeId(id)
    if (this.#data.sizeBytes + 2 * entryBytes(8, 0) > this.#options.fileBytesMax) await this.#jump()
    this.#append(key, nothing, timestampSeconds, indexEntryDead)
    this.#appendData(key, nothing, timestampSeconds, { flags: EntryFlag.deleted, valueCrc: 0 })
  }

  async finish(): Promise<void> {
    await this.#data.finish()
    await this.#index.finish()
    await this.#storage.syncDirectory(this.#options.dataDirectory)
    await this.#storage.syncDirectory(this.#options.indexDirectory)
  }

  #append(key: Buffer, value: Buffer, timestampSeconds: number, indexFlags: number): void {
    const offsetBytes = this.#data.sizeBytes
    const valueCrc = zdbCrc(value)
    this.#appendData(key, value, timestampSeconds, { flags: 0, valueCrc })
    const at = this.#index.sizeBytes
    const entry = IndexEntry.toBuffer({
      keyBytes: key.length,
      offsetBytes,
      valueBytes: value.length,
      previous: this.#previousIndex,
      flags: indexFlags,
      dataId: this.#fileId,
      timestampSeconds,
      valueCrc,
      parentId: 0,
      parentOffset: 0,
    })
    this.#index.append(entry, key)
    this.#previousIndex = at
  }

  #appendData(
    key: Buffer,
    value: Buffer,
    timestampSeconds: number,
    { flags, valueCrc }: { readonly flags: number; readonly valueCrc: number },
  ): void {
    const at = this.#data.sizeBytes
    const fields = { keyBytes: key.length, valueBytes: value.length, valueCrc, flags, timestampSeconds }
    this.#data.append(EntryHeader.toBuffer({ ...fields, check: this.#previousData }), key, value)
    this.#previousData = at
  }

  async #jump(): Promise<void> {
    await this.#data.finish()
    await this.#index.finish()
    this.#fileId++
    this.#data = this.#openData()
    this.#index = this.#openIndex()
  }

  #openData(): Output {
    const header = DataHeader.toBuffer({ magic, version, created: 0n, opened: 0n, fileId: this.#fileId })
    return new Output(this.#storage.openAppend(join(this.#options.dataDirectory, `d${this.#fileId}`)), header)
  }

  #openIndex(): Output {
    const header = encodeIndexHeader(this.#fileId, this.#options.mode)
    return new Output(this.#storage.openAppend(join(this.#options.indexDirectory, `i${this.#fileId}`)), header)
  }
}

/** A file that is appended to in big pieces. */
class Output {
  readonly #file: AppendFile
  #parts: Buffer[] = []
  #waitingBytes = 0
  sizeBytes = 0

  constructor(file: AppendFile, header: Buffer) {
    this.#file = file
    this.append(header)
  }

  /** @param parts borrowed until the next `append` or `finish` that writes them: never changed meanwhile */
  append(...parts: readonly Buffer[]): void {
    for (const part of parts) {
      this.#parts.push(part)
      this.#waitingBytes += part.length
      this.sizeBytes += part.length
    }
    if (this.#waitingBytes >= batchBytes) this.#write()
  }

  async finish(): Promise<void> {
    this.#write()
    await this.#file.sync()
    this.#file[Symbol.dispose]()
  }

  #write(): void {
    appendWhole(this.#file, this.#parts)
    this.#parts = []
    this.#waitingBytes = 0
  }
}
