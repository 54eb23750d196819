import assert from 'node:assert'
import { type Clock, delay, type RandomSource } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { KeyError } from '@qsfs/crypto/errors'
import type { KeyRing } from '@qsfs/crypto/keys'
import { ReedSolomon } from '@qsfs/erasure/reed-solomon'
import type { Log } from '@qsfs/telemetry/log'
import type { RecordBackend } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import { type Answer, generationsOf, holdersOf, lacking, SILENT, shardsOf, shownBy, slotOf } from './answers.ts'
import type { Generation } from './object-record.ts'
import { compareGenerations, decide, newestDecodable, type Quorum, quorumOf } from './quorum.ts'
import { decodeShard, joinRecord, type ShardMac, splitRecord, storageKey } from './record-shard.ts'

/** A metadata backend and its place among the members. */
export interface Member {
  readonly backend: RecordBackend
  /** It holds the shard of this index; places may be free, so that members stay where they are. */
  readonly place: number
  /** The monitor's word: it is not waited for. */
  isDown(): boolean
  /** It answers and takes writes, and what it does not hold means nothing: silent to readers, present for writers. */
  isBlank?(): boolean
  /** Hears that it holds a damaged shard, was away when one was written, or does not hold what was committed. */
  lacks?(what: 'damaged' | 'missed' | 'lost'): void
}

export interface MetaStoreLimits {
  readonly dataShards: number
  /** Number of the member set, sent with every shard. */
  readonly memberSet: number
  readonly epoch: number
  /** A member that has not answered by then counts as silent. */
  readonly answerWithinMs: number
  /** How long a write waits for a member that the monitor calls up. */
  readonly settleWithinMs: number
  /** While a member is removed: nothing is decided unless all others answer. */
  readonly allMustAnswer?: boolean
}

export interface StoredRecord {
  readonly generation: Generation
  readonly bytes: Buffer
  /** The root key that sealed it. */
  readonly rootId: number
}
/** Names of the members that hold the new generation, and of those that were away. */
export interface Committed {
  readonly generation: Generation
  readonly confirmed: readonly string[]
  readonly owed: readonly string[]
}
export interface PutContext {
  readonly generation: Generation
  readonly memberSet: number
  /** The record that this one replaces. */
  readonly previous: Buffer | null
  /** The root key that sealed that; null where there is none. */
  readonly previousRootId: number | null
}

/** Encrypted records, coded k+m over the metadata backends: two slots each, read and written by the rule of quorum.ts.
 *  Opaque bytes for this class. One writer: the daemon, or whoever holds the store's lock. */
export class MetaStore {
  readonly #members: readonly Member[]
  readonly #keys: KeyRing
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #log: Log
  readonly #limits: MetaStoreLimits
  readonly #codec: ReedSolomon
  readonly #mac: ShardMac
  readonly #writers = new KeyedMutex<string>()
  #lastCounter = 0
  readonly quorum: Quorum

  constructor(
    members: readonly Member[],
    keys: KeyRing,
    clock: Clock,
    random: RandomSource,
    log: Log,
    limits: MetaStoreLimits,
  ) {
    this.#members = members
    this.#keys = keys
    this.#mac = (...parts) => keys.recordMac(...parts)
    this.#clock = clock
    this.#random = random
    this.#log = log
    this.#limits = limits
    const { dataShards, allMustAnswer = false } = limits
    const quorum = quorumOf(dataShards, members.length)
    this.quorum = allMustAnswer ? { ...quorum, writeQuorum: quorum.n } : quorum
    const placeCount = Math.max(dataShards, ...members.map(({ place }) => place + 1))
    this.#codec = new ReedSolomon(dataShards, placeCount - dataShards)
  }

  /** Reads a record by the rule: never an older one than was committed. Null: there is none.
   *  @throws StorError 'unavailable' when the answers do not settle it, 'damaged' when it does not decode */
  async get(key: Buffer, { signal }: { signal?: AbortSignal } = {}): Promise<StoredRecord | null> {
    const { answers, decision } = await this.#ask(key, 'first decision', signal)
    if (decision.kind === 'none') return null
    if (decision.kind === 'unavailable') throw this.#unavailable(answers)
    return this.#open(key, decision.generation, answers)
  }

  /** As `get`, but when the answers do not settle which generation is the newest, any that decodes. For records whose
   *  generations all say the same, as far as a reader cares: objects. */
  async getAny(key: Buffer, { signal }: { signal?: AbortSignal } = {}): Promise<StoredRecord | null> {
    const { answers, decision } = await this.#ask(key, 'first decision', signal)
    if (decision.kind === 'none') return null
    const generation =
      decision.kind === 'take'
        ? decision.generation
        : newestDecodable(shownBy(answers), this.quorum, compareGenerations)
    if (generation === null) throw this.#unavailable(answers)
    return this.#open(key, generation, answers)
  }

  /** Writes a new generation and resolves when every member that is not down holds it on its disk: at least W.
   *
   *  Before that, an undecided generation that would be replaced is brought to W. `make` may return null to leave the
   *  record as it is. Repeating a put that failed is safe.
   *  @throws StorError 'unavailable' when fewer than W answer or confirm, or an up member does not confirm in time; the
   *  record is then the old or the new one, and a later put or get settles it */
  put(
    key: Buffer,
    make: (context: PutContext) => Buffer | null,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Committed | null> {
    return this.#writers.run(key.toString('hex'), async () => {
      const { answers, decision } = await this.#settle(key, signal)
      const taken = decision.kind === 'take' ? decision.generation : null
      const counter = this.#nextCounter(answers)
      const generation = { epoch: this.#limits.epoch, counter, attempt: this.#random(16) }
      const { memberSet } = this.#limits
      const stored = taken === null ? null : this.#open(key, taken, answers)
      const previous = stored?.bytes ?? null
      const plain = make({ generation, memberSet, previous, previousRootId: stored?.rootId ?? null })
      if (plain === null) return null
      const slot = taken === null ? 0 : 1 - slotOf(answers, taken)
      const sealed = this.#keys.sealRecord(plain, contextOf(key, generation))
      const holders = await this.#write(key, slot, generation, sealed, signal)
      return this.#committed(generation, holders)
    })
  }

  /** Brings the record to every member that is not down, without a new generation; nothing damaged is left. Null: there
   *  is none. */
  widen(key: Buffer, { signal }: { signal?: AbortSignal } = {}): Promise<Committed | null> {
    return this.#writers.run(key.toString('hex'), async () => {
      const { answers, decision, holders } = await this.#settle(key, signal, 'all')
      const taken = decision.kind === 'take' ? decision.generation : null
      await this.#removeDamaged(key, answers, taken === null ? null : slotOf(answers, taken), signal)
      return taken === null ? null : this.#committed(taken, holders)
    })
  }

  /** Removes a record whose newest generation says that it is deleted. Only when every member holds that generation, so
   *  that no older one can come back; else nothing is done and false returned.
   *  @param onlyIf looks at the record once more, under its lock */
  forget(
    key: Buffer,
    { signal, onlyIf = () => true }: { signal?: AbortSignal; onlyIf?: (bytes: Buffer) => boolean } = {},
  ): Promise<boolean> {
    return this.#writers.run(key.toString('hex'), async () => {
      const { answers, decision, holders } = await this.#settle(key, signal, 'all')
      if (decision.kind !== 'take') return decision.kind === 'none'
      if (holders.size < this.#members.length || !onlyIf(this.#open(key, decision.generation, answers).bytes))
        return false
      const slot = slotOf(answers, decision.generation)
      // The older slot first, on all: until none is left the deleted generation stands before it.
      for (const at of [1 - slot, slot]) {
        const removed = await Promise.allSettled(
          this.#members.map(({ backend }) => backend.remove(storageKey(key, at), { signal })),
        )
        if (removed.some(({ status }) => status === 'rejected')) return false
      }
      return true
    })
  }

  /** The keys of all records, in no order, each once. Some may turn out to be `none`.
   *  @throws StorError 'unavailable' unless so many members list that every committed record is among them */
  async list({ signal }: { signal?: AbortSignal } = {}): Promise<Buffer[]> {
    const found = new Set<string>()
    const lists = await Promise.allSettled(
      this.#members.map(async member => {
        if (member.isDown()) throw new StorError('unavailable', `${member.backend.name} is down`)
        for await (const batch of member.backend.list({ signal })) {
          for (const key of batch) if (key.length > 2) found.add(key.subarray(0, -1).toString('latin1'))
        }
      }),
    )
    signal?.throwIfAborted()
    const failed = lists.filter(({ status }) => status === 'rejected').length
    if (failed >= this.quorum.writeQuorum) throw new StorError('unavailable', `${failed} metadata backends do not list`)
    return [...found].map(key => Buffer.from(key, 'latin1'))
  }

  /** Asks everyone, decides, and brings an undecided generation to `target` before anything is built on it. */
  async #settle(key: Buffer, signal: AbortSignal | undefined, target: 'quorum' | 'all' = 'quorum') {
    const asked = await this.#ask(key, 'all answers', signal)
    const answering = asked.answers.filter((answer, i) => answer !== SILENT || this.#members[i]!.isBlank?.()).length
    const { writeQuorum } = this.quorum
    if (asked.decision.kind === 'unavailable' || answering < writeQuorum) throw this.#unavailable(asked.answers)
    if (asked.decision.kind !== 'take') return { ...asked, holders: new Set<number>() }
    const { generation } = asked.decision
    const holders = holdersOf(asked.answers, generation)
    // Whoever walks over all records need not be told what they lack.
    if (target === 'quorum') for (const at of lacking(asked.answers, holders)) this.#members[at]!.lacks?.('lost')
    const enough = target === 'all' ? this.#members.length : writeQuorum
    if (holders.size >= enough) return { ...asked, holders }
    const slot = slotOf(asked.answers, generation)
    const sealed = joinRecord(shardsOf(asked.answers, generation), this.#codec)
    const now = await this.#write(key, slot, generation, sealed, signal, holders)
    const shards = { shardsBefore: holders.size, shards: now.size }
    this.#log.event('record.caught_up', { generation: generation.counter, ...shards })
    return { ...asked, holders: now }
  }

  /** Of a record that is settled, what else is damaged was never committed, or is older: it is nothing but a slot that may
   *  hold anything. */
  async #removeDamaged(key: Buffer, answers: readonly Answer[], kept: number | null, signal: AbortSignal | undefined) {
    const removing = answers.flatMap(({ damagedSlots }, index) =>
      damagedSlots
        .filter(slot => slot !== kept)
        .map(slot => this.#members[index]!.backend.remove(storageKey(key, slot), { signal })),
    )
    await Promise.all(removing)
  }

  /** Both slots of every member; those that fail or are too slow are silent. `first decision` does not wait for the rest
   *  once the answers so far decide: who is not waited for counts as silent, so the rule holds. */
  async #ask(key: Buffer, until: 'first decision' | 'all answers', signal: AbortSignal | undefined) {
    signal?.throwIfAborted()
    const answers: Answer[] = this.#members.map(() => SILENT)
    const enough = Promise.withResolvers<void>()
    const over = new AbortController()
    const within = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
    const questions = this.#members.map(async (member, index) => {
      if (until === 'all answers' && member.isDown()) return
      try {
        answers[index] = await this.#askMember(member, key, within)
      } catch (error) {
        // Silent: away, too slow, or no longer waited for. Anything else is a bug, and no answer.
        if (!(error instanceof StorError) && !within.aborted) enough.reject(error)
        return
      }
      if (until === 'first decision' && this.#decide(answers).kind !== 'unavailable') enough.resolve()
    })
    const cancel = this.#clock.schedule(this.#limits.answerWithinMs, enough.resolve)
    try {
      await Promise.race([Promise.allSettled(questions), enough.promise])
    } finally {
      cancel()
      over.abort()
    }
    signal?.throwIfAborted()
    return { answers: [...answers], decision: this.#decide(answers) }
  }

  async #askMember({ backend, place, lacks }: Member, key: Buffer, signal: AbortSignal): Promise<Answer> {
    const [first, second] = await Promise.all(
      [0, 1].map(async slot => {
        const at = storageKey(key, slot)
        const value = await backend.get(at, { signal })
        if (value === null) return 'empty'
        const shard = decodeShard(value, at, place, this.#mac)
        if (shard === null) this.#log.warn('record_shard.damaged', { backend: backend.name })
        return shard ?? 'damaged'
      }),
    )
    const shardOf = (slot: typeof first) => (typeof slot === 'object' ? slot : null)
    const damagedSlots = [first, second].flatMap((slot, at) => (slot === 'damaged' ? [at] : []))
    if (damagedSlots.length > 0) lacks?.('damaged')
    return { slots: [shardOf(first), shardOf(second)], whole: damagedSlots.length === 0, damagedSlots }
  }

  /** Above every generation seen, and above those that failed attempts left on members that are silent now: so many of
   *  these may hold one that they would stand before this write. That is why the counter is the time as a rule. */
  #nextCounter(answers: readonly Answer[]): number {
    const seen = generationsOf(answers).map(({ counter }) => counter)
    this.#lastCounter = Math.max(this.#lastCounter, Math.floor(this.#clock.nowMs()) - 1, ...seen) + 1
    return this.#lastCounter
  }

  #decide(answers: readonly Answer[]) {
    return decide(shownBy(answers), this.quorum, compareGenerations)
  }

  /** Writes one generation's shards to all that lack it. Resolves with all that hold it when no up member is missing.
   *  @throws StorError 'unavailable' otherwise */
  async #write(
    key: Buffer,
    slot: number,
    generation: Generation,
    sealed: Buffer,
    signal: AbortSignal | undefined,
    before: ReadonlySet<number> = new Set(),
  ): Promise<Set<number>> {
    const at = storageKey(key, slot)
    const header = { generation, memberSet: this.#limits.memberSet }
    const shards = splitRecord(sealed, this.#codec, header, at, this.#mac)
    const holders = new Set(before)
    const missing: string[] = []
    const deadlineMs = this.#clock.monotonicMs() + this.#limits.settleWithinMs
    await Promise.all(
      this.#members.map(async (member, index) => {
        if (holders.has(index)) return
        if (await this.#writeShard(member, at, shards[member.place]!, deadlineMs, signal)) holders.add(index)
        else {
          member.lacks?.('missed')
          if (!member.isDown()) missing.push(member.backend.name)
        }
      }),
    )
    signal?.throwIfAborted()
    const { writeQuorum } = this.quorum
    if (holders.size < writeQuorum) {
      throw new StorError(
        'unavailable',
        `a record reached ${holders.size} of ${this.#members.length} metadata backends, ${writeQuorum} are needed`,
      )
    }
    if (missing.length > 0) {
      throw new StorError('unavailable', `a record was not confirmed in time by ${missing.join(', ')}`)
    }
    return holders
  }

  async #writeShard(
    member: Member,
    at: Buffer,
    shard: Buffer,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    while (!member.isDown() && this.#clock.monotonicMs() < deadlineMs && !signal?.aborted) {
      const timeout = this.#timeout(Math.min(this.#limits.answerWithinMs, deadlineMs - this.#clock.monotonicMs()))
      try {
        await Promise.race([member.backend.set(at, shard, { signal }), timeout.elapsed])
        return true
      } catch (error) {
        if (!(error instanceof StorError)) throw error
        this.#log.debug('record_shard.refused', { backend: member.backend.name, error })
        // Until the monitor has made up its mind: a short pause, then again.
        await delay(this.#clock, Math.min(200, this.#limits.settleWithinMs / 4))
      } finally {
        timeout.cancel()
      }
    }
    return false
  }

  /** A backend that hangs is given up by whoever waits, not by the backend. */
  #timeout(afterMs: number) {
    const { promise, reject } = Promise.withResolvers<never>()
    promise.catch(() => undefined)
    const cancel = this.#clock.schedule(afterMs, () =>
      reject(new StorError('unavailable', `no answer in ${afterMs} ms`)),
    )
    return { elapsed: promise, cancel }
  }

  #open(key: Buffer, generation: Generation, answers: readonly Answer[]): StoredRecord {
    const sealed = joinRecord(shardsOf(answers, generation), this.#codec)
    try {
      const bytes = this.#keys.openRecord(sealed, contextOf(key, generation))
      return { generation, bytes, rootId: this.#keys.rootIdOf(sealed) }
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      const reason = error.reason === 'wrong-key' ? 'wrong-key' : 'damaged'
      throw new StorError(reason, `a metadata record cannot be opened: ${error.message}`, { cause: error })
    }
  }

  #committed(generation: Generation, holders: ReadonlySet<number>): Committed {
    assert(holders.size >= this.quorum.writeQuorum)
    const names = (held: boolean) =>
      this.#members.filter((_, index) => holders.has(index) === held).map(({ backend }) => backend.name)
    return { generation, confirmed: names(true), owed: names(false) }
  }

  #unavailable(answers: readonly Answer[]): StorError {
    const silent = this.#members.filter((_, index) => answers[index] === SILENT).map(({ backend }) => backend.name)
    const who = silent.length === 0 ? 'shards of the record are damaged' : `${silent.join(', ')} did not answer`
    return new StorError('unavailable', `the metadata backends do not settle this record now: ${who}`)
  }
}

/** Binds a sealed record to its key and generation. */
function contextOf(key: Buffer, { epoch, counter, attempt }: Generation): Buffer {
  const numbers = Buffer.alloc(16)
  numbers.writeBigUInt64LE(BigInt(epoch), 0)
  numbers.writeBigUInt64LE(BigInt(counter), 8)
  return Buffer.concat([key, numbers, attempt])
}
