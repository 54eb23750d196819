import type { Prng } from '@qsfs/testkit/prng'
import { Commands, type Sent, type Weather } from './commands.ts'
import type { Knobs } from './knobs.ts'
import type { Life } from './life.ts'
import { ReferenceNamespace } from './reference.ts'

const namespaceNames = ['a', 'b', 'meta']

interface Teller {
  readonly tell: (text: string) => void
  readonly order: () => number
  readonly hasEnded: () => boolean
}

/** The turns of one life: several commands in one turn of the loop, then their answers. */
export class Turns {
  /** A sync failed: what follows may be refused. */
  isHurt = false
  readonly #life: Life
  readonly #prng: Prng
  readonly #knobs: Knobs
  readonly #references: Map<string, ReferenceNamespace>
  readonly #teller: Teller
  readonly #commands: Commands
  readonly #walks = new Map<ReferenceNamespace, () => Sent | null>()
  #isFull: boolean
  /** Once in this life: what a read met then is told later. */
  #wasFull: boolean
  /** It started on a full disk: what could not be opened then is opened later. */
  readonly #startedFull: boolean

  constructor(life: Life, prng: Prng, knobs: Knobs, references: Map<string, ReferenceNamespace>, teller: Teller) {
    this.#life = life
    this.#prng = prng
    this.#knobs = knobs
    this.#references = references
    this.#teller = teller
    this.#isFull = life.storage.capacityBytes < Number.POSITIVE_INFINITY
    this.#startedFull = this.#isFull
    this.#wasFull = this.#isFull
    const { keysMax, fsync, rots } = knobs
    const options = { keysMax, rots, syncsEach: fsync === 'always', weather: () => this.#weather() }
    this.#commands = new Commands(life, prng, options)
  }

  async run(count: number): Promise<void> {
    for (let turn = 0; turn < count && !this.#teller.hasEnded(); turn++) {
      this.#changeWeather()
      if (!(await this.#turn())) return
      if (this.#prng.chance(0.2)) await this.#life.clock.advance(this.#prng.below(this.#prng.pick([100, 3_000])))
      for (const check of this.#commands.late.splice(0)) check()
    }
  }

  /** @returns false when the machine is gone */
  async #turn(): Promise<boolean> {
    const { hasEnded, tell } = this.#teller
    const sent: Sent[] = []
    const busy = new Set<ReferenceNamespace>()
    for (let count = 1 + this.#prng.below(this.#prng.pick([1, 4, 10])); count > 0 && !hasEnded(); count--) {
      const command = this.#next(busy)
      if (command === null) continue
      sent.push(command)
      tell(`${this.#teller.order()} ${command.text}`)
    }
    const awaited = sent.filter(({ isAwaited }) => isAwaited).map(({ answer }) => answer)
    if (!(await this.#life.settled(awaited, hasEnded)) || hasEnded()) return false
    for (const { verify } of sent) verify()
    return true
  }

  #next(busy: Set<ReferenceNamespace>): Sent | null {
    const prng = this.#prng
    if (prng.chance(0.02)) return this.#make(busy)
    const there = [...this.#references.values()].filter(one => one.existence === 'yes' && !busy.has(one))
    const free = there.filter(one => this.#isConnected(one))
    if (free.length === 0) return null
    const reference = prng.pick(free)
    if (prng.chance(0.005)) {
      busy.add(reference)
      return this.#commands.reload(reference)
    }
    if (prng.chance(0.04)) {
      busy.add(reference)
      return this.#commands.set(reference)
    }
    if (prng.chance(0.01) && reference.name !== 'default') {
      busy.add(reference)
      return this.#drop(reference)
    }
    if (prng.chance(0.08)) {
      const walk = this.#walks.get(reference)
      const page = walk?.() ?? null
      if (page !== null) return page
      this.#walks.delete(reference)
      // A walk knows the contents when it begins: between two turns.
      if (busy.size === 0) this.#beginsWalk.add(reference)
    }
    return this.#commands.send(reference, this.#teller.order())
  }

  readonly #beginsWalk = new Set<ReferenceNamespace>()

  #isConnected(reference: ReferenceNamespace): boolean {
    const refused = this.#life.connect(reference.name, reference.settings.password)
    if (refused === null) return true
    if (!(this.#weather().mayNotRead || this.#startedFull) || !/^IOERR the namespace /.test(refused.message))
      throw refused
    return false
  }

  #make(busy: Set<ReferenceNamespace>): Sent | null {
    const free = namespaceNames.filter(name => !this.#references.has(name))
    if (free.length === 0) return null
    const reference = new ReferenceNamespace(this.#prng.pick(free))
    const { name } = reference
    this.#references.set(name, reference)
    busy.add(reference)
    const answer = this.#life.send(null, 'NSNEW', name)
    answer.whenSettled(() => {
      if (answer.state === 'reply') reference.exists('yes')
    })
    const verify = () => {
      if (answer.error === null) return
      if (!this.#mayBeRefused() || !/^(FULL |IOERR |Could not)/.test(answer.error.message)) throw answer.error
      // It is not there; a crash may find it begun.
    }
    return { answer, change: null, isAwaited: true, verify, text: `NSNEW ${name}` }
  }

  #drop(reference: ReferenceNamespace): Sent {
    const { name } = reference
    reference.exists('maybe')
    this.#life.disconnect(name)
    const answer = this.#life.send(null, 'NSDEL', name)
    answer.whenSettled(() => {
      if (answer.state === 'reply') reference.exists('no')
    })
    const verify = () => {
      if (answer.error === null) this.#references.delete(name)
      else if (!this.#mayBeRefused() || !/^(FULL |IOERR |Could not)/.test(answer.error.message)) throw answer.error
      // What failed may be its sync alone.
      else reference.exists(/^FULL /.test(answer.error.message) && !this.isHurt ? 'yes' : 'maybe')
    }
    return { answer, change: null, isAwaited: true, verify, text: `NSDEL ${name}` }
  }

  #changeWeather(): void {
    const { storage } = this.#life
    const { fullness, syncFailures, afterFailedSync, hasQuota } = this.#knobs
    for (const reference of this.#beginsWalk) this.#walks.set(reference, this.#commands.walk(reference))
    this.#beginsWalk.clear()
    if (this.#prng.chance(fullness)) {
      storage.capacityBytes = storage.usedBytes + this.#prng.below(this.#prng.pick([10, 500, 5_000]))
      if (hasQuota)
        Object.defineProperty(storage, 'freeBytes', { value: () => Number.POSITIVE_INFINITY, configurable: true })
      this.#isFull = true
      this.#wasFull = true
      this.#teller.tell(`the disk ends at ${storage.capacityBytes}`)
    } else if (this.#isFull && this.#prng.chance(0.2)) {
      storage.capacityBytes = Number.POSITIVE_INFINITY
      this.#isFull = false
      this.#teller.tell('the disk has room')
    }
    if (!this.#prng.chance(syncFailures)) return
    storage.afterFailedSync = afterFailedSync
    storage.lostBySync = (fromBytes, toBytes) => {
      if (this.#prng.chance(0.5)) return null
      const from = fromBytes + this.#prng.below(toBytes - fromBytes + 1)
      return { from, to: from + this.#prng.below(toBytes - from + 1) }
    }
    const wanted = this.#prng.pick([/\/d\d+$/, /\/d\d+$/, /manifest/, /\/data(\/[a-z]+)?$/, /\//])
    let failures = this.#prng.pick([1, 1, 3])
    this.isHurt = true
    storage.failsSync = path => wanted.test(path) && failures-- > 0
    this.#teller.tell(`${failures} syncs of ${wanted} will fail`)
  }

  /** Whether making or dropping a namespace may fail. */
  #mayBeRefused(): boolean {
    const { mayBeFull, mayBeReadOnly } = this.#weather()
    // A RELOAD that met a full disk is made good a little later.
    return mayBeFull || mayBeReadOnly || this.#wasFull
  }

  #weather(): Weather {
    const { store, limitSegments } = this.#knobs
    const isStoreWell = store === null || (store.failures === 0 && store.slowness === 0)
    return {
      mayBeFull: this.#isFull || limitSegments > 0,
      mayNotRead: !isStoreWell || this.#wasFull || this.isHurt || limitSegments > 0,
      mayBeReadOnly: this.isHurt,
    }
  }
}
