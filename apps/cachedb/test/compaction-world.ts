import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type Prng, prngFromSeed } from '@qsfs/testkit/prng'
import type { KeyMode, Namespace } from '../src/engine/namespace.ts'
import { engineContext, type FixtureOptions, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'
import { SimulatedStore } from './simulated-store.ts'

export const segmentBytesMax = 1_000

/** A disk, a clock and perhaps a store for namespaces with small segments and compaction. */
export interface World {
  readonly storage: SimulatedStorage
  readonly clock: ManualClock
  readonly prng: Prng
  readonly store: SimulatedStore | null
}

export function newWorld({ hasStore = false } = {}): World {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  return { storage, clock: new ManualClock(), prng: prngFromSeed(7), store: hasStore ? new SimulatedStore() : null }
}

export function open(
  world: World,
  mode: KeyMode,
  {
    pinned = false,
    storage = world.storage,
    ...options
  }: FixtureOptions & { pinned?: boolean; storage?: SimulatedStorage } = {},
): Promise<Namespace> {
  const { clock, prng, store } = world
  const hooks = store === null ? {} : { hooks: store.hooks(storage, prng, { turnsMax: 0 }) }
  const defaults = { clock, segmentBytesMax, compactBelow: 0.5, ...hooks }
  return openNamespace(engineContext(storage, prng, { ...defaults, ...options }), mode, { pinned })
}

/** Lets everything that is due happen. */
export async function pass({ clock }: World, seconds = 20): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    await clock.advance(1_000)
    for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
  }
}

export const key = (name: string) => Buffer.from(name)
export const idsOf = (namespace: Namespace) => namespace.segments().map(({ id }) => id)

/** So many values of 100 bytes with keys `<name>0`, `<name>1`, … */
export function fill(namespace: Namespace, name: string, count: number, prng: Prng): void {
  for (let n = 0; n < count; n++) namespace.put(key(`${name}${n}`), prng.bytes(100))
}
