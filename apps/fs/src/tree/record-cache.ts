import type { LogRecord, MetadataLog } from './metadata-log.ts'

/** A record of the tree in memory. It may leave memory only while nothing in it is newer than the log's bytes. */
export interface CachedRecord extends LogRecord {
  /** Something outside holds on to this very object. */
  readonly isPinned: boolean
  /** About what it takes in memory now, besides what each record takes. */
  readonly memoryBytes: number
  /** Lets go of what it can make again from its bytes. @returns false: there is nothing */
  shrink?(): boolean
}

/** Thrown by a look at a record that is not in memory: the operation has changed nothing yet, and is run again after `loading`.
 *  No Error: its stack trace would cost more than all else of a read that misses. */
export class NotLoaded {
  readonly loading: Promise<void>
  constructor(loading: Promise<void>) {
    this.loading = loading
  }
}

/** A record's place in the cache, and what the log asks for its bytes. */
class Slot implements LogRecord {
  record: CachedRecord
  recent = true
  /** Touched, and not encoded since: the newest bytes are nowhere but in the record. */
  dirty = false
  /** What the cache counts for it. */
  countedBytes = 0

  constructor(record: CachedRecord) {
    this.record = record
  }
  get key(): string {
    return this.record.key
  }
  encode(): Buffer | null {
    this.dirty = false
    return this.record.encode()
  }
}

/** What a record takes beside its own: key, slot, its place in a map, the objects around a buffer are 400 on the heap (measured); the rest is outside. */
const overheadBytes = 500

/** Of the memory, what directories may hold against all others. A listing of a huge directory loads fifteen inode records for each bucket,
 *  and most are gone before another name of theirs comes; the buckets are what each later create, lookup and unlink needs. */
const directoryShare = 0.75

/** Records that stand in for each other when memory is short. */
class Pool {
  readonly slots = new Map<string, Slot>()
  memoryBytes = 0

  insert(key: string, record: CachedRecord): Slot {
    const slot = new Slot(record)
    this.slots.set(key, slot)
    this.measure(slot)
    return slot
  }

  measure(slot: Slot): void {
    const bytes = overheadBytes + slot.record.memoryBytes
    this.memoryBytes += bytes - slot.countedBytes
    slot.countedBytes = bytes
  }

  /** Lets so many bytes go, if it can: of the records that nobody has looked at since the last time. */
  release(bytes: number): void {
    const targetBytes = this.memoryBytes - bytes
    let looks = this.slots.size
    for (const [key, slot] of this.slots) {
      if (looks-- === 0 || this.memoryBytes <= targetBytes) return
      this.slots.delete(key)
      const isInUse = slot.recent || slot.dirty || slot.record.isPinned
      if (isInUse || slot.record.shrink?.()) {
        this.slots.set(key, slot)
        if (!isInUse) this.measure(slot)
      } else this.memoryBytes -= slot.countedBytes
      slot.recent = false
    }
  }
}

export type DecodeRecord = (bytes: Buffer | null) => CachedRecord

/** The tree's records by key: `bytesMax` of memory for those that could be read again, and a little more between two calls of `trim`.
 *  A look is synchronous: what is not there is thrown as NotLoaded, and `attempt` or `change` starts the operation again. */
export class RecordCache {
  readonly #log: MetadataLog
  readonly #bytesMax: number
  readonly #directories = new Pool()
  readonly #others = new Pool()
  readonly #loading = new Map<string, Promise<void>>()

  constructor(log: MetadataLog, limits: { bytesMax: number }) {
    this.#log = log
    this.#bytesMax = limits.bytesMax
  }

  get count(): number {
    return this.#directories.slots.size + this.#others.slots.size
  }

  get memoryBytes(): number {
    return this.#directories.memoryBytes + this.#others.memoryBytes
  }

  /** Of the transaction that records touched now join. */
  get runningSeq(): number {
    return this.#log.runningSeq
  }

  /** The record under `key`, made by `decode`, which also says what an absent record is.
   *  @throws NotLoaded */
  get(key: string, decode: DecodeRecord): CachedRecord {
    const slot = this.#poolOf(key).slots.get(key)
    if (slot !== undefined) {
      slot.recent = true
      return slot.record
    }
    const bytes = this.#loading.has(key) ? undefined : this.#log.read(key)
    if (bytes === undefined || bytes instanceof Promise) throw new NotLoaded(this.#load(key, bytes, decode))
    return this.#poolOf(key).insert(key, decode(bytes)).record
  }

  /** Starts to load what is not in memory; null when all is there. */
  prefetch(wanted: Iterable<readonly [key: string, decode: DecodeRecord]>): Promise<void> | null {
    const loads: Promise<void>[] = []
    for (const [key, decode] of wanted) {
      const pool = this.#poolOf(key)
      if (pool.slots.has(key)) continue
      const bytes = this.#loading.has(key) ? undefined : this.#log.read(key)
      if (bytes === undefined || bytes instanceof Promise) loads.push(this.#load(key, bytes, decode))
      else pool.insert(key, decode(bytes))
    }
    return loads.length === 0 ? null : Promise.all(loads).then(() => undefined)
  }

  /** The record joins the running transaction, and the cache if it is new. */
  touch(record: CachedRecord): void {
    const pool = this.#poolOf(record.key)
    const slot = pool.slots.get(record.key) ?? pool.insert(record.key, record)
    // A bucket that was empty and left behind may come back as a new object.
    slot.record = record
    pool.measure(slot)
    if (slot.dirty) return
    slot.dirty = true
    this.#log.touch(slot)
  }

  /** A look has made the record take more memory. */
  grew(record: CachedRecord): void {
    const pool = this.#poolOf(record.key)
    const slot = pool.slots.get(record.key)
    if (slot !== undefined) pool.measure(slot)
  }

  /** A record that is known to be new: its bytes need not be asked for. */
  put(record: CachedRecord): void {
    const pool = this.#poolOf(record.key)
    if (!pool.slots.has(record.key)) pool.insert(record.key, record)
  }

  /** Lets the least recently used records go. Called between operations, never within one. */
  trim(): void {
    if (this.memoryBytes <= this.#bytesMax) return
    const wantedBytes = this.#bytesMax * 0.9
    const aboveShare = this.#directories.memoryBytes - this.#bytesMax * directoryShare
    this.#directories.release(Math.min(aboveShare, this.memoryBytes - wantedBytes))
    this.#others.release(this.memoryBytes - wantedBytes)
  }

  #poolOf(key: string): Pool {
    return key.startsWith('d') ? this.#directories : this.#others
  }

  #load(key: string, bytes: Promise<Buffer | null> | undefined, decode: DecodeRecord): Promise<void> {
    const running = this.#loading.get(key)
    if (running !== undefined) return running
    const loading = (bytes ?? Promise.resolve(null))
      .then(value => {
        // Another way in (a touch of a new record) may have been faster, and it is newer.
        const pool = this.#poolOf(key)
        if (!pool.slots.has(key)) pool.insert(key, decode(value))
      })
      .finally(() => this.#loading.delete(key))
    this.#loading.set(key, loading)
    return loading
  }
}
