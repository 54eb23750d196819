import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { StorError } from '../errors.ts'
import type { Backend, BackendOptions, BackendStat, PieceId, RecordBackend, SyncOptions } from './backend.ts'
import { DirectoryFiles } from './directory-files.ts'

/** Ids promised to be above all used ones before the first of them is given: after a crash the rest is skipped. */
const IDS_RESERVED = 65_536
/** Pieces per subdirectory. */
const PIECES_PER_DIRECTORY = 4096
const FORMAT = 'qsfs pieces 1'

/** Pieces as files of a directory: `pieces/<id / 4096>/<id>`; page: docs/formats/directory-backend.md. Two
 *  processes never put into the same subdirectory. Pieces are written without waiting for the disk; `sync` waits for all of them. */
export class DirectoryBackend implements Backend {
  readonly name: string
  readonly #files: DirectoryFiles
  #opening: Promise<void> | null = null
  #nextId = 0
  #reservedTo = 0
  /** The directory that ids are given in; it was made by us. */
  #claimedDirectory = ''
  #claiming: Promise<unknown> = Promise.resolve()
  readonly #pending = new Set<PieceId>()
  /** Pieces that were not there, or did not reach the disk, when they were to be synced; by little it only grows. */
  readonly #lost = new Set<PieceId>()
  readonly #syncing = new KeyedMutex<'sync'>()
  #valueCount = 0

  constructor(name: string, root: string) {
    this.name = name
    this.#files = new DirectoryFiles(name, root)
  }

  async put(bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<PieceId> {
    signal?.throwIfAborted()
    await this.#open()
    const id = await this.#claim()
    try {
      await this.#files.publish(pathOf(id), bytes, { durable: false })
    } catch (error) {
      if (!(error instanceof StorError && error.reason === 'missing')) throw error
      // Emptied, or another disk is mounted there: looked at afresh by the next put.
      this.#opening = null
      throw new StorError('unavailable', `${this.name}: its directories are gone`, { cause: error })
    }
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
    // Where that fails, pieces that nobody names come back: room lost on a disk that is failing.
    for (const directory of new Set(ids.map(directoryOf))) await this.#isOnDisk(directory)
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
    // Another disk is mounted there: what was counted is gone.
    if (this.#valueCount > 0 && (await this.#files.read('next-id')) === null) this.#opening = null
    await this.#open()
    const freeBytes = await this.#files.freeBytes()
    return { valueCount: this.#valueCount, usedBytes: null, freeBytes, durability: 'disk' }
  }

  async sync({ signal, ids = [] }: SyncOptions = {}): Promise<void> {
    // One at a time: of two that sync the same piece together only one is told that its disk failed.
    const lostCount = await this.#syncing.run('sync', () => this.#syncPending(signal))
    if (lostCount > 0 || [...ids].some(id => this.#lost.has(id))) {
      throw new StorError('missing', `${this.name} lost pieces before they were on its disk`)
    }
  }

  /** @returns how many pieces turned out to be lost */
  async #syncPending(signal: AbortSignal | undefined): Promise<number> {
    const covered = [...this.#pending]
    const lostBefore = this.#lost.size
    for (const id of covered) {
      signal?.throwIfAborted()
      if (!(await this.#isOnDisk(pathOf(id)))) this.#lost.add(id)
    }
    for (const directory of new Set(covered.map(directoryOf))) {
      if (await this.#isOnDisk(directory)) continue
      for (const id of covered) if (directoryOf(id) === directory) this.#lost.add(id)
    }
    for (const id of covered) this.#pending.delete(id)
    return this.#lost.size - lostBefore
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Syncs a path. A failed fsync is never repeated on its file: the next one would say yes, the pages being clean.
   *  @returns false when it is gone, or its disk failed */
  async #isOnDisk(path: string): Promise<boolean> {
    try {
      await this.#files.sync(path)
      return true
    } catch (error) {
      if (error instanceof StorError && (error.reason === 'missing' || error.reason === 'damaged')) return false
      throw error
    }
  }

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
    this.#claimedDirectory = ''
    await this.#files.makeDirectory('pieces')
    const saved = await this.#files.read('next-id')
    const match = saved === null ? null : new RegExp(`^${FORMAT} (\\d{1,15})\\n$`).exec(saved.toString())
    if (saved !== null && match === null) throw new StorError('damaged', `${this.name}: next-id is not ours`)
    this.#nextId = this.#reservedTo = Math.max(this.#nextId, Number(match?.[1] ?? 0))
    let valueCount = 0
    for await (const ids of this.list()) valueCount += ids.length
    this.#valueCount = valueCount
  }

  /** The next id, in the order of the calls. */
  #claim(): Promise<PieceId> {
    const claimed = this.#claiming.then(async () => {
      let id = this.#nextId
      if (this.#claimedDirectory !== directoryOf(id)) id = await this.#claimDirectory(id)
      this.#nextId = id + 1
      return id
    })
    this.#claiming = claimed.catch(() => undefined)
    return claimed
  }

  /** Ids are given only in a directory that this process made: a second stor, by mistake on the same backend, and this one
   *  then never write to the same place. @returns the first id from `id` on that is ours */
  async #claimDirectory(id: PieceId): Promise<PieceId> {
    await this.#reserve(id)
    if (await this.#files.makeNewDirectory(directoryOf(id))) {
      this.#claimedDirectory = directoryOf(id)
      return id
    }
    return this.#claimDirectory((Math.floor(id / PIECES_PER_DIRECTORY) + 1) * PIECES_PER_DIRECTORY)
  }

  async #reserve(id: PieceId): Promise<void> {
    if (id < this.#reservedTo) return
    const reservedTo = id + IDS_RESERVED
    await this.#files.publish('next-id', Buffer.from(`${FORMAT} ${reservedTo}\n`), { durable: true })
    this.#reservedTo = reservedTo
  }
}

/** Records as files of a directory: `records/<key in hex>`. */
export class DirectoryRecordBackend implements RecordBackend {
  readonly name: string
  readonly #files: DirectoryFiles
  /** Changes of one key take effect in the order of the calls, also those whose caller no longer waits. */
  readonly #changes = new KeyedMutex<string>()

  constructor(name: string, root: string) {
    this.name = name
    this.#files = new DirectoryFiles(name, root)
  }

  async set(key: Uint8Array, bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    const path = recordPathOf(key)
    await this.#changes.run(path, async () => {
      await this.#files.makeDirectory('records')
      await this.#files.publish(path, bytes, { durable: true })
    })
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
    const path = recordPathOf(key)
    await this.#changes.run(path, async () => {
      await this.#files.makeDirectory('records')
      await this.#files.remove(path)
      await this.#files.sync('records')
    })
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
