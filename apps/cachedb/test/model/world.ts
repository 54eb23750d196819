import { type Prng, prngFromSeed } from '@qsfs/testkit/prng'
import { SegmentUnavailable } from '../../src/errors.ts'
import { SimulatedStorage } from '../simulated-storage.ts'
import { CommandWrong } from './commands.ts'
import { type Knobs, pickKnobs } from './knobs.ts'
import { Life } from './life.ts'
import { type Aftermath, firstSettings, ReferenceNamespace } from './reference.ts'
import { rot } from './rot.ts'
import { SimulatedStore, wellBehaved } from './store.ts'
import { Turns } from './turns.ts'

const livesMax = 6
const turnsMax = 120
/** Of the commands before a difference, so many are told. */
const toldCommands = 12

export interface WorldReport {
  readonly commands: number
  readonly lives: number
}

/** What differs from the reference, and how to see it again. */
export class Difference extends Error {}

/** One run: a disk, a store and a reference, which outlive several server processes. All that happens follows from the seed.
 *  @throws Difference */
export async function runWorld(seed: number): Promise<WorldReport> {
  const world = new World(seed)
  try {
    await world.run()
  } catch (error) {
    throw new Difference(`world ${seed}: ${(error as Error).message}\n${world.story()}`, { cause: error })
  }
  return { commands: world.commands, lives: world.lives }
}

class World {
  commands = 0
  lives = 0
  readonly #prng: Prng
  readonly #knobs: Knobs
  readonly #references = new Map<string, ReferenceNamespace>([['default', new ReferenceNamespace('default')]])
  #storage = new SimulatedStorage()
  #store = new SimulatedStore()
  /** Since the last power cut a sync failed: the page cache may show what is not on disk, and will not be. */
  #isHurt = false
  readonly #told: string[] = []

  constructor(seed: number) {
    this.#prng = prngFromSeed(seed)
    this.#knobs = pickKnobs(this.#prng)
    this.#storage.makeDirectory('/data')
  }

  story(): string {
    return [JSON.stringify(this.#knobs), ...this.#told.slice(-toldCommands)].join('\n')
  }

  async run(): Promise<void> {
    while (this.lives < livesMax) {
      this.lives++
      await this.#live()
    }
  }

  /** One server process, from its start to a crash or its end; then the look at what it left. */
  async #live(): Promise<void> {
    const prng = prngFromSeed(this.#prng.below(2 ** 32))
    const storage = this.#storage
    const crash: { image: SimulatedStorage | null; aftermath: Aftermath; order: number } = {
      image: null,
      aftermath: this.#prng.chance(0.65) ? 'power cut' : 'kill',
      order: 0,
    }
    let turns: Turns | null = null
    const strike = () => {
      this.#isHurt = crash.aftermath !== 'power cut' && (this.#isHurt || turns?.isHurt === true)
      if (this.#isHurt) crash.aftermath = 'hurt'
      const forgets = () => this.#prng.chance(0.5)
      crash.image = crash.aftermath === 'power cut' ? storage.cut(this.#prng) : storage.kill(forgets)
      crash.order = this.commands
      for (const reference of this.#references.values()) reference.crash()
    }
    storage.syncTurns = () => 1 + prng.below(this.#knobs.syncTurnsMax)
    const crashAfter = storage.operationCount + 1 + this.#prng.below(this.#prng.pick([30, 400, 2_000]))
    storage.onOperation = () => {
      if (crash.image === null && storage.operationCount >= crashAfter) strike()
    }
    this.#tell(`life ${this.lives}, up to a ${crash.aftermath} at operation ${crashAfter}`)
    const life = await this.#start(storage, prng, () => crash.image !== null)
    if (life !== null && crash.image === null) {
      for (const reference of [...this.#references.values()]) this.#greet(life, reference)
      turns = new Turns(life, prng, this.#knobs, this.#references, {
        tell: text => this.#tell(text),
        order: () => ++this.commands,
        hasEnded: () => crash.image !== null,
      })
      turns.isHurt = this.#isHurt
      await turns.run(turnsMax)
      if (crash.image === null && this.#prng.chance(0.3)) {
        crash.aftermath = 'close'
        storage.capacityBytes = Number.POSITIVE_INFINITY
        await life.close().catch(error => {
          if (turns?.isHurt !== true) throw error
        })
      }
      if (crash.image === null) strike()
    }
    if (life !== null) life.isDead = true
    storage.onOperation = () => undefined
    storage.failsSync = () => false
    this.#storage = crash.image!
    this.#tell(`${crash.aftermath} after command ${crash.order}`)
    const problem = this.#store.violations[0]
    if (problem !== undefined) throw new CommandWrong(problem)
    await this.#inspect(crash.order, crash.aftermath)
  }

  /** null when it was cut off while it started. One that finds no room, whose disk fails, or that needs a store which does not answer,
   *  is tried again. */
  async #start(storage: SimulatedStorage, prng: Prng, hasEnded: () => boolean): Promise<Life | null> {
    const store = { objects: this.#store, manners: this.#knobs.store ?? wellBehaved }
    const failsSync = this.#knobs.syncFailures > 0 && prng.chance(0.1)
    let syncs = prng.below(prng.pick([4, 20]))
    storage.failsSync = () => failsSync && syncs-- === 0
    storage.afterFailedSync = this.#knobs.afterFailedSync
    if (failsSync) this.#isHurt = true
    const isTight = this.#knobs.fullness > 0 && prng.chance(0.3)
    storage.capacityBytes = isTight ? storage.usedBytes + prng.below(2_000) : Number.POSITIVE_INFINITY
    try {
      return await Life.start(storage, prng, this.#knobs, store, hasEnded)
    } catch (error) {
      if (hasEnded()) return null
      const needsStore = error instanceof SegmentUnavailable && store.manners.failures > 0
      if (!isTight && !needsStore && !failsSync) throw error
      this.#tell(`the start failed: ${(error as Error).message}`)
      return this.#start(storage, prng, hasEnded)
    }
  }

  /** What the start found is on disk now, in the namespaces it opened. */
  #greet(life: Life, reference: ReferenceNamespace): void {
    const hosted = life.namespaces.list().find(({ namespace }) => namespace.name === reference.name)
    if (hosted === undefined) {
      // One that waits for the store, or for room, is there.
      if (!this.#isWaiting(life, reference.name)) this.#references.delete(reference.name)
      return
    }
    reference.settingsMaybe = []
    reference.exists('yes')
    const problem = reference.started(hosted.namespace.info().nextId)
    if (problem !== null) throw new CommandWrong(problem)
  }

  #isWaiting(life: Life, name: string): boolean {
    try {
      return life.namespaces.get(name) !== undefined
    } catch {
      return true
    }
  }

  /** Looks at a copy of what was left, with a store that is well: the next life recovers from the crash itself. */
  async #inspect(order: number, aftermath: Aftermath): Promise<void> {
    const copy = this.#storage.kill()
    copy.capacityBytes = Number.POSITIVE_INFINITY
    const store = { objects: this.#store.copy(), manners: wellBehaved }
    const roomy = { ...this.#knobs, limitSegments: 0 }
    const life = await Life.start(copy, prngFromSeed(this.lives), roomy, store, () => false)
    for (const reference of [...this.#references.values()]) {
      const { name } = reference
      const hosted = life!.namespaces.get(name)
      if (hosted === undefined) {
        // The first life may have ended before it had any.
        if (reference.existence === 'yes') throw new CommandWrong(`the namespace ${name} is gone`)
        if (name !== 'default' && (reference.existence === 'no' || aftermath === 'power cut'))
          this.#references.delete(name)
        else reference.missed()
        continue
      }
      if (reference.existence === 'no') throw new CommandWrong(`the namespace ${name} is back`)
      const { settings } = hosted.namespace
      const found = { ...firstSettings, ...settings, password: String(settings.password) }
      const allowed = [reference.settings, ...reference.settingsMaybe]
      if (reference.areSettingsUnknown) allowed.push(found)
      reference.areSettingsUnknown = false
      const fitting = allowed.find(wanted => JSON.stringify(sorted(wanted)) === JSON.stringify(sorted(found)))
      if (fitting === undefined) throw new CommandWrong(`${name} has the settings ${JSON.stringify(found)}`)
      // What a kill left may still be lost by a power cut while it is recovered.
      reference.settingsMaybe = aftermath === 'power cut' ? [] : allowed
      reference.settings = fitting
      const refused = life!.connect(name, fitting.password)
      if (refused !== null) throw refused
      const problem = reference.accept(await life!.contentsOf(name), order, aftermath)
      if (problem !== null) throw new CommandWrong(problem)
    }
    const strangers = life!.namespaces.list().filter(({ namespace }) => !this.#references.has(namespace.name))
    if (strangers.length > 0) throw new CommandWrong(`nobody made ${strangers.map(({ namespace }) => namespace.name)}`)
    if (this.#knobs.rots && aftermath === 'power cut') rot(this.#storage, this.#prng, text => this.#tell(text))
    life!.isDead = true
  }

  #tell(text: string): void {
    this.#told.push(text)
    if (this.#told.length > 4 * toldCommands) this.#told.splice(0, 2 * toldCommands)
  }
}

function sorted(settings: object): unknown {
  return Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1))
}
