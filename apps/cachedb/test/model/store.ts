import type { Clock } from '@qsfs/concurrency/clock'
import { delay } from '@qsfs/concurrency/clock'
import type { Prng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../../src/engine/hooks/hooks.ts'
import type { SimulatedStorage } from '../simulated-storage.ts'

/** How a store misbehaves. */
export interface StoreManners {
  readonly failures: number
  /** Of calls that take seconds. */
  readonly slowness: number
}

export const wellBehaved: StoreManners = { failures: 0, slowness: 0 }

/** A store of objects, which outlives the servers whose hooks fill it. */
export class SimulatedStore {
  readonly objects = new Map<string, Buffer>()
  readonly deleted = new Set<string>()
  /** What a server asked for and no sane one does. */
  readonly violations: string[] = []

  copy(): SimulatedStore {
    const copy = new SimulatedStore()
    for (const [id, bytes] of this.objects) copy.objects.set(id, bytes)
    for (const id of this.deleted) copy.deleted.add(id)
    return copy
  }

  /** The hooks of one server process. Once it is dead they change nothing and answer nobody. */
  hooksOf(process: {
    readonly storage: SimulatedStorage
    readonly clock: Clock
    readonly prng: Prng
    readonly manners: StoreManners
    readonly isDead: () => boolean
  }): Hooks {
    const { storage, clock, prng, manners, isDead } = process
    const call = async () => {
      if (prng.chance(manners.slowness)) await delay(clock, prng.below(5_000))
      for (let turns = prng.below(4); turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
      if (isDead()) await new Promise<never>(() => undefined)
      if (prng.chance(manners.failures)) throw new HookFailed('no backend answers')
    }
    return {
      ...noHooks,
      configured: true,
      segmentClosed: async ({ dataPath }) => {
        await call()
        if (storage.sizeBytes(dataPath) === null) throw new HookFailed(`${dataPath} is not there`)
        const objectId = prng.bytes(16).toString('hex')
        this.objects.set(objectId, storage.bytesOf(dataPath))
        // Stored, and the answer is lost.
        return prng.chance(manners.failures / 2) ? null : objectId
      },
      segmentMissing: async ({ dataPath, objectId }) => {
        if (objectId !== null && this.deleted.has(objectId))
          this.violations.push(`${dataPath}: ${objectId} was deleted`)
        await call()
        const bytes = objectId === null ? undefined : this.objects.get(objectId)
        if (bytes === undefined) throw new HookFailed('no such object')
        const isGarbled = prng.chance(manners.failures / 2)
        try {
          storage.put(dataPath, isGarbled ? bytes.subarray(0, prng.below(bytes.length)) : bytes)
        } catch (error) {
          throw new HookFailed(`${dataPath} cannot be written`, error)
        }
      },
      segmentDeleted: async ({ objectId }) => {
        await call()
        this.objects.delete(objectId)
        this.deleted.add(objectId)
      },
    }
  }
}
