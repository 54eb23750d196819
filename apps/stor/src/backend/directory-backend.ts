import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend, SyncOptions } from './backend.ts'
import { DirectoryFiles } from './directory-files.ts'

/** Ids promised to be above all used ones before the first of them is given: after a crash the rest is skipped. */
const IDS_RESERVED = 65_536
/** Pieces per subdirectory. */
const PIECES_PER_DIRECTORY = 4096
const FORMAT = 'qsfs pieces 1'

/** Pieces as files of a directory: `pieces/<id / 4096>/<id>`; page: docs/formats/directory-backend.md. One process at a
 *  time may put into it. Pieces are written without waiting for the disk; `sync` waits for all of them. */
export class DirectoryBackend implements Backend {
  readonly name: string
  readonly #files: DirectoryFiles
  #opening: Promise<void> | null = null
  #nextId = 0
  #reservedTo = 0
  #reserving: Promise<void> = Promise.resolve()
  readonly #directories = new Map<string, Promise<void>>()
  readonly #pending = new Set<PieceId>()
  #valueCount = 0

  constructor(name: string, root: string) {
    this.name = name
    this.#files = new DirectoryFiles(name, root)
  }

  async put(bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<PieceId> {
    signal?.throwIfAborted()
    await this.#open()
    const id = this.#nextId++
    await this.#reserve(id)
    await this.#makeDirectory(directoryOf(id))
    await this.#files.publish(pathOf(id), bytes, { durable: false })
    this.#pending.add(id)
    this.#valueCount++
    return id
  }

  async get(id: PieceId, { signal }: BackendOptions = {}): Promise<Buffer> {
    signal?.throwIfAborted()
    const bytes = await this.#files.read(pathOf(id))
    if (bytes !== null) return bytes
    await this.#files.freeBytes()
    throw new StorError('missing', `${this.name} has no value ${id}`)
  }

  async remove(ids: readonly PieceId[], { signal }: BackendOptions = {}): Promise<void> {
    for (const id of ids) {
      signal?.throwIfAborted()
      this.#pending.delete(id)
      if (await this.#files.remove(pathOf(id))) this.#valueCount--
    }
  }

  async *list({ signal }: BackendOptions = {}): AsyncIterable<readonly PieceId[]> {
    const directories = (await this.#files.list('pieces')).map(Number).sort((a, b) => a - b)
    for (const directory of directories) {
      signal?.throwIfAborted()
      const ids = (await this.#files.list(`pieces/${directory}`)).map(Number)
      yield ids.filter(Number.isSafeInteger).sort((a, b) => a - b)
    }
  }

  async stat({ signal }: BackendOptions = {}): Promise<BackendStat> {
    signal?.throwIfAborted()
    await this.#open()
    const freeBytes = await this.#files.freeBytes()
    return { valueCount: this.#valueCount, usedBytes: null, freeBytes, durability: 'disk' }
  }

  async sync({ signal }: SyncOptions = {}): Promise<void> {
    const covered = [...this.#pending]
    const directories = new Set(covered.map(directoryOf))
    for (const id of covered) {
      signal?.throwIfAborted()
      await this.#files.sync(pathOf(id))
    }
    for (const directory of directories) await this.#files.sync(directory)
    for (const id of covered) this.#pending.delete(id)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #open(): Promise<void> {
    this.#opening ??= this.#load().catch(error => {
      // The directory may be mounted later.
      this.#opening = null
      throw error
    })
    return this.#opening
  }

  /** Ids go on after all that may have been given: a removal that is still owed must never hit a new piece. */
  async #load(): Promise<void> {
    await this.#files.makeDirectory('pieces')
    const saved = await this.#files.read('next-id')
    const match = saved === null ? null : new RegExp(`^${FORMAT} (\\d{1,15})\\n$`).exec(saved.toString())
    if (saved !== null && match === null) throw new StorError('damaged', `${this.name}: next-id is not ours`)
    this.#nextId = this.#reservedTo = Number(match?.[1] ?? 0)
    for await (const ids of this.list()) this.#valueCount += ids.length
  }

  #reserve(id: PieceId): Promise<void> {
    this.#reserving = this.#reserving.then(async () => {
      if (id < this.#reservedTo) return
      const reservedTo = id + IDS_RESERVED
      await this.#files.publish('next-id', Buffer.from(`${FORMAT} ${reservedTo}\n`), { durable: true })
      this.#reservedTo = reservedTo
    })
    const reserved = this.#reserving
    this.#reserving = reserved.catch(() => undefined)
    return reserved
  }

  #makeDirectory(directory: string): Promise<void> {
    const made = this.#directories.get(directory) ?? this.#files.makeDirectory(directory)
    this.#directories.set(directory, made)
    made.catch(() => this.#directories.delete(directory))
    return made
  }
}

/** Records as files of a directory: `records/<key in hex>`. */
export class DirectoryRecordBackend implements RecordBackend {
  readonly name: string
  readonly #files: DirectoryFiles

  constructor(name: string, root: string) {
    this.name = name
    this.#files = new DirectoryFiles(name, root)
  }

  async set(key: Uint8Array, bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    await this.#files.makeDirectory('records')
    await this.#files.publish(recordPathOf(key), bytes, { durable: true })
  }

  async get(key: Uint8Array, { signal }: BackendOptions = {}): Promise<Buffer | null> {
    signal?.throwIfAborted()
    const bytes = await this.#files.read(recordPathOf(key))
    // No file, or no disk mounted there: only the first is an answer.
    if (bytes === null) await this.#files.freeBytes()
    return bytes
  }

  async remove(key: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    await this.#files.makeDirectory('records')
    await this.#files.remove(recordPathOf(key))
    await this.#files.sync('records')
  }

  async *list({ signal }: BackendOptions = {}): AsyncIterable<readonly Buffer[]> {
    signal?.throwIfAborted()
    await this.#files.freeBytes()
    const names = await this.#files.list('records')
    yield names.filter(name => /^([0-9a-f]{2})+$/.test(name)).map(name => Buffer.from(name, 'hex'))
  }

  async stat({ signal }: BackendOptions = {}): Promise<BackendStat> {
    signal?.throwIfAborted()
    const freeBytes = await this.#files.freeBytes()
    const valueCount = (await this.#files.list('records')).length
    return { valueCount, usedBytes: null, freeBytes, durability: 'disk' }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const directoryOf = (id: PieceId) => `pieces/${Math.floor(id / PIECES_PER_DIRECTORY)}`
const pathOf = (id: PieceId) => `${directoryOf(id)}/${id}`
const recordPathOf = (key: Uint8Array) => `records/${Buffer.from(key).toString('hex')}`
