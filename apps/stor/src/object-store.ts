import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { Semaphore } from '@qsfs/concurrency/semaphore'
import type { KeyRing } from '@qsfs/crypto/keys'
import type {
  CheckParams,
  CheckResult,
  DeleteParams,
  DeleteResult,
  RetrieveParams,
  RetrieveResult,
  StoreParams,
  StoreResult,
  TransferProgress,
} from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import type { Fleet } from './backend/fleet.ts'
import type { StorConfig } from './config.ts'
import { Deletions } from './deletions.ts'
import { StorError } from './errors.ts'
import type { MetaStore } from './metadata/meta-store.ts'
import { decodeNameRecord, encodeNameRecord, type NameRecord, nameKey, objectKey } from './metadata/name-record.ts'
import { decodeRecord, encodeRecord, type ObjectRecord } from './metadata/object-record.ts'
import { objectNameOf } from './object-name.ts'
import { digestFile, type FileDigest } from './pipeline/digest.ts'
import type { FramePool } from './pipeline/frame-pool.ts'
import type { PieceFault, ReadContext } from './pipeline/object-reader.ts'
import { ReadLatencies } from './pipeline/read-latency.ts'
import { checksumOf, retrieveObject, retrieveRange } from './pipeline/retrieve.ts'
import type { NewRecord } from './pipeline/store.ts'
import { type JobContext, SharedJobs } from './shared-jobs.ts'
import { uploadObject } from './upload.ts'

/** What all of stor's work needs. */
export interface StoreContext {
  readonly config: StorConfig
  readonly fleet: Fleet
  readonly meta: MetaStore
  readonly keys: KeyRing
  readonly pool: FramePool
  readonly clock: Clock
  readonly random: RandomSource
  readonly log: Log
  readonly repairs: RepairSink
  readonly counts: TransferCounts
}

/** Hears of what metrics count. */
export interface TransferCounts {
  stored(sizeBytes: number): void
  retrieved(sizeBytes: number): void
  faulty(kind: PieceFault['kind']): void
}

/** Hears of what repair must know. */
export interface RepairSink {
  wanted(objectId: string, shardIndex: number, reason: string): void
  stored(record: NewRecord): void
  deleted(objectId: string): void
}

export interface AskerOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: TransferProgress) => void
}

/** A hook is killed by its timeout and started again with a pause: it finds its job still running. */
const JOB_GRACE_MS = 60_000

/** Objects by name and by id: the daemon's work, or that of a command which holds the store's lock. */
export class ObjectStore implements AsyncDisposable {
  readonly #context: StoreContext
  readonly #stores: SharedJobs<StoreResult>
  readonly #retrieves: SharedJobs<RetrieveResult>
  // Downloads have places of their own: a reader waits for them, an upload never stands before it.
  readonly #storePlaces: Semaphore
  readonly #retrievePlaces: Semaphore
  readonly deletions: Deletions
  readonly #places = new KeyedMutex<string>()
  readonly #latencies = new ReadLatencies()
  /** Objects stored less objects deleted since the start. */
  #countChange = 0
  #lastStoredMs = 0

  constructor(context: StoreContext) {
    this.#context = context
    this.deletions = new Deletions(context)
    this.#stores = new SharedJobs(context.clock, { graceMs: JOB_GRACE_MS })
    this.#retrieves = new SharedJobs(context.clock, { graceMs: JOB_GRACE_MS })
    this.#storePlaces = new Semaphore(context.config.storesMax)
    this.#retrievePlaces = new Semaphore(context.config.retrievesMax)
  }

  /** `lastStoredMs`: monotonic, 0 for never. */
  get sinceStart(): { readonly countChange: number; readonly lastStoredMs: number } {
    return { countChange: this.#countChange, lastStoredMs: this.#lastStoredMs }
  }

  get running(): { readonly stores: number; readonly retrieves: number } {
    return { stores: this.#stores.size, retrieves: this.#retrieves.size }
  }

  /** Stores a file under a name. Joins a store of the same file that is under way; answers the id it has when the same
   *  bytes are stored under that name already.
   *  @throws StorError */
  async store(params: StoreParams, options: AskerOptions = {}): Promise<StoreResult> {
    const name = objectNameOf(params.name ?? params.file, this.#context.config.root)
    const job = JSON.stringify([name, params.file, params.attach ?? null])
    return this.#stores.run(
      job,
      async context => {
        using _ = await this.#storePlaces.acquire(1, { signal: context.signal })
        return await this.#places.run(`name ${name}`, () => this.#store(name, params, context))
      },
      options,
    )
  }

  /** Publishes an object's file, and its attachment when asked for.
   *  @throws StorError 'not-found' and others */
  async retrieve(params: RetrieveParams, options: AskerOptions = {}): Promise<RetrieveResult> {
    const { file, objectId, attachmentTo, range } = params
    const name = objectId === undefined ? objectNameOf(params.name ?? file, this.#context.config.root) : null
    return this.#retrieves.run(
      JSON.stringify([name, objectId ?? null, file, attachmentTo ?? null, range ?? null]),
      // Two at once would write the same part file.
      context => this.#places.run(`file ${file}`, () => this.#retrieveTo(file, { ...params, name }, context)),
      options,
    )
  }

  /** What the record says. zstor's checksum is taken from the object's shards when it is first asked for, and kept. */
  async check(params: CheckParams, { signal }: AskerOptions = {}): Promise<CheckResult> {
    return this.#check(params, signal, record => this.#checksum(record, signal))
  }

  /** As check, but no shard is read: an object of which nobody has asked for the checksum has none yet. */
  async find(params: CheckParams, { signal }: AskerOptions = {}): Promise<CheckResult> {
    return this.#check(params, signal, async () => Buffer.alloc(0))
  }

  async #check(
    { file, objectId }: CheckParams,
    signal: AbortSignal | undefined,
    checksumOf: (record: ObjectRecord) => Promise<Buffer>,
  ): Promise<CheckResult> {
    const name = file === undefined ? null : objectNameOf(file, this.#context.config.root)
    try {
      const record = await this.#find(objectId === undefined ? name : null, objectId, signal)
      const checksum = record.blake2b ?? (await checksumOf(record))
      return {
        found: true,
        objectId: record.objectId.toString('hex'),
        name: record.name,
        sizeBytes: record.sizeBytes,
        checksum: checksum.toString('hex'),
        shardsConfirmed: confirmedOf(record),
        shardCount: record.totalShards,
      }
    } catch (error) {
      if (!(error instanceof StorError && error.reason === 'not-found')) throw error
      const nothing = { sizeBytes: 0, checksum: '', shardsConfirmed: 0, shardCount: 0 }
      return { found: false, objectId: objectId ?? null, name, ...nothing }
    }
  }

  /** The id of a file's object, or the one that was given.
   *  @throws StorError 'not-found' */
  async idOf({ file, objectId }: CheckParams, { signal }: AskerOptions = {}): Promise<Buffer> {
    const name = file === undefined ? null : objectNameOf(file, this.#context.config.root)
    return (await this.#find(objectId === undefined ? name : null, objectId, signal)).objectId
  }

  /** @see Deletions */
  async delete({ file, objectId }: DeleteParams, { signal }: AskerOptions = {}): Promise<DeleteResult> {
    const name = file === undefined ? null : objectNameOf(file, this.#context.config.root)
    if (objectId !== undefined) return this.#delete(Buffer.from(objectId, 'hex'), signal)
    if (name === null) throw new StorError('refused', 'say which object: a file or an object id')
    const named = await this.#named(name, signal)
    if (named === null || named.state === 'deleted') return { found: false, objectId: null, owedBackends: [] }
    return this.#delete(named.objectId, signal)
  }

  /** Ends what runs and waits for it: an upload's shards are removed as far as they can be reached. */
  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new StorError('unavailable', 'stor is stopping')
    await Promise.all([this.#stores.stop(reason), this.#retrieves.stop(reason)])
  }

  async #store(name: string, { file, attach }: StoreParams, job: JobContext): Promise<StoreResult> {
    const { pool } = this.#context
    const named = await this.#named(name, job.signal)
    if (named?.state === 'live') {
      const digest = await digestFile(file, pool)
      const attached = attach === undefined ? null : await digestFile(attach, pool)
      const repeated = await this.#repeated(named, digest, attached, job.signal)
      if (repeated !== null) return repeated
    }
    const record = await uploadObject({ name, path: file, attach }, this.#context, job)
    const replaced = await this.#nameIt(record)
    const objectId = record.objectId.toString('hex')
    const shardsConfirmed = confirmedOf(record)
    this.#context.log.event('object.stored', { objectId, sizeBytes: record.sizeBytes, shardsConfirmed })
    this.#countChange++
    this.#lastStoredMs = this.#context.clock.monotonicMs()
    this.#context.repairs.stored(record)
    this.#context.counts.stored(record.sizeBytes)
    const shape = { sizeBytes: record.sizeBytes, shardsConfirmed, shardCount: record.totalShards }
    const replacedObjectId = replaced?.toString('hex') ?? null
    return { objectId, name, ...shape, repeated: false, replacedObjectId, sha256: record.sha256.toString('hex') }
  }

  /** The answer when these bytes are this name's object already, its records brought to full width; else null. */
  async #repeated(
    named: NameRecord,
    { sizeBytes, sha256 }: FileDigest,
    attached: FileDigest | null,
    signal: AbortSignal,
  ): Promise<StoreResult | null> {
    if (named.sizeBytes !== sizeBytes || !named.sha256.equals(sha256)) return null
    const { meta, keys } = this.#context
    const record = await this.#record(named.objectId, 'strict', signal)
    if (record === null || record.state === 'deleted') return null
    if (attached !== null && !record.attachment?.sha256.equals(attached.sha256)) return null
    await Promise.all([meta.widen(objectKey(named.objectId)), meta.widen(nameKey(keys.nameHash(named.name)))])
    return {
      objectId: named.objectId.toString('hex'),
      name: named.name,
      sizeBytes,
      shardsConfirmed: confirmedOf(record),
      shardCount: record.totalShards,
      repeated: true,
      replacedObjectId: null,
      sha256: sha256.toString('hex'),
    }
  }

  /** Lets the name stand for this object. @returns the object that it stood for before */
  async #nameIt({ name, objectId, sizeBytes, sha256 }: NewRecord): Promise<Buffer | null> {
    const { meta, keys } = this.#context
    let replaced: Buffer | null = null
    await meta.put(nameKey(keys.nameHash(name)), ({ previous }) => {
      const before = previous === null ? null : decodeNameRecord(previous)
      replaced = before?.state === 'live' && !before.objectId.equals(objectId) ? before.objectId : null
      return encodeNameRecord({ name, state: 'live', objectId, sizeBytes, sha256 })
    })
    return replaced
  }

  async #retrieveTo(
    file: string,
    { name, objectId, attachmentTo, range }: { name: string | null } & Omit<RetrieveParams, 'name'>,
    context: JobContext,
  ): Promise<RetrieveResult> {
    using _ = await this.#retrievePlaces.acquire(1, { signal: context.signal })
    const record = await this.#find(name, objectId, context.signal)
    const whole = { objectId: record.objectId.toString('hex'), sizeBytes: record.sizeBytes }
    if (range !== undefined) {
      const target = { path: file, range: { ...range, of: 'file' as const }, onProgress: context.progress }
      const rangeBytes = await retrieveRange(record, target, this.#readContext, { signal: context.signal })
      this.#context.counts.retrieved(rangeBytes)
      return { ...whole, attachmentBytes: 0, rangeBytes }
    }
    await this.#retrieve(record, file, attachmentTo, context)
    this.#context.counts.retrieved(record.sizeBytes)
    const attachmentBytes = attachmentTo === undefined ? 0 : (record.attachment?.sizeBytes ?? 0)
    return { ...whole, attachmentBytes }
  }

  async #retrieve(record: ObjectRecord, path: string, attachmentTo: string | undefined, job: JobContext) {
    const target = { path, ...(attachmentTo === undefined ? {} : { attachmentPath: attachmentTo }) }
    const { signal } = job
    await retrieveObject(record, { ...target, onProgress: job.progress }, this.#readContext, { signal })
  }

  get #readContext(): ReadContext {
    const { fleet, pool, keys, clock, log, repairs, counts } = this.#context
    return {
      ...{ pool, keys, clock, latencies: this.#latencies },
      backend: name => fleet.backend(name),
      isDown: name => fleet.isDown(name),
      onFault: fault => {
        counts.faulty(fault.kind)
        // One read in twenty of each backend is slow, by how that is measured.
        log[fault.kind === 'slow' ? 'debug' : 'warn']('piece.faulty', { ...fault })
        // Silence passes; what is wrong, corrupt or missing stays so until it is rewritten.
        if (fault.kind === 'slow' || fault.kind === 'unavailable') return
        fleet.dataFailed(fault.backend, new StorError('damaged', `a reader met a piece that is ${fault.kind}`))
        repairs.wanted(fault.objectId, fault.shardIndex, `a reader found it ${fault.kind}`)
      },
    }
  }

  async #checksum(record: ObjectRecord, signal: AbortSignal | undefined): Promise<Buffer> {
    const { meta, log } = this.#context
    using _ = await this.#retrievePlaces.acquire(1, { signal })
    const blake2b = await checksumOf(record, this.#readContext, { signal })
    try {
      await meta.put(objectKey(record.objectId), ({ previous, generation, memberSet }) => {
        const now = previous === null ? null : decodeRecord(previous)
        return now?.state === 'live' ? encodeRecord({ ...now, blake2b, generation, memberSet }) : null
      })
    } catch (error) {
      // The answer is right all the same; the next one takes it again.
      if (!(error instanceof StorError)) throw error
      log.warn('checksum.not_kept', { error })
    }
    return blake2b
  }

  async #delete(objectId: Buffer, signal: AbortSignal | undefined): Promise<DeleteResult> {
    const id = objectId.toString('hex')
    const { wasLive, ...result } = await this.deletions.delete(objectId, { signal })
    if (wasLive) this.#countChange--
    this.#context.repairs.deleted(id)
    return result
  }

  /** @throws StorError 'not-found' */
  async #find(
    name: string | null,
    objectId: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ObjectRecord> {
    const named = name === null ? null : await this.#named(name, signal)
    const id = objectId !== undefined ? Buffer.from(objectId, 'hex') : named?.state === 'live' ? named.objectId : null
    const record = id === null ? null : await this.#record(id, 'any', signal)
    if (record === null || record.state === 'deleted') {
      // zstor's words: scripts look for «entity not found».
      throw new StorError('not-found', `no metadata found for ${name === null ? 'object' : 'file'}: entity not found`)
    }
    return record
  }

  async #named(name: string, signal: AbortSignal | undefined): Promise<NameRecord | null> {
    const { meta, keys } = this.#context
    const stored = await meta.get(nameKey(keys.nameHash(name)), { signal })
    return stored === null ? null : decodeNameRecord(stored.bytes)
  }

  /** `any`: for readers, whom every generation of an object serves alike. */
  async #record(
    objectId: Buffer,
    which: 'strict' | 'any',
    signal: AbortSignal | undefined,
  ): Promise<ObjectRecord | null> {
    const { meta } = this.#context
    const key = objectKey(objectId)
    const stored = which === 'any' ? await meta.getAny(key, { signal }) : await meta.get(key, { signal })
    return stored === null ? null : decodeRecord(stored.bytes)
  }
}

function confirmedOf({ shards }: Pick<ObjectRecord, 'shards'>): number {
  return shards.filter(({ confirmed }) => confirmed).length
}
