import type { Prng } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import type { SimulatedStorage } from './simulated-storage.ts'

/** A store behind hooks that survives every crash of its clients. */
export class SimulatedStore {
  readonly objects = new Map<string, { readonly dataPath: string; readonly bytes: Buffer }>()
  /** Objects that were asked for and are not there. */
  readonly missed: string[] = []
  readonly deleted: string[] = []
  isDown = false
  /** Objects are made at once; their ids are told when this settles. */
  answering: Promise<void> = Promise.resolve()

  /** @param isAlive false: whoever runs these hooks is dead as far as the world is concerned, and nothing they do happens
   *  @param turnsMax a hook takes up to so many turns of the event loop */
  hooks(
    storage: SimulatedStorage,
    prng: Prng,
    { isAlive = () => true, turnsMax = 4 }: { readonly isAlive?: () => boolean; readonly turnsMax?: number } = {},
  ): Hooks {
    const work = async () => {
      for (let turn = prng.below(turnsMax + 1); turn > 0; turn--) await new Promise(resolve => setImmediate(resolve))
      if (this.isDown || !isAlive()) throw new HookFailed('the store is down')
    }
    return {
      ...noHooks,
      configured: true,
      segmentClosed: async ({ dataPath }) => {
        await work()
        // It was dropped meanwhile.
        if (storage.sizeBytes(dataPath) === null) throw new HookFailed('no such file')
        const objectId = this.#idOf(dataPath, storage.bytesOf(dataPath), prng)
        await this.answering
        await work()
        return objectId
      },
      segmentMissing: async ({ dataPath, objectId }) => {
        await work()
        const object = this.objects.get(objectId ?? '')
        if (object === undefined) {
          this.missed.push(`${dataPath} ${objectId}`)
          throw new HookFailed('no such object')
        }
        storage.put(dataPath, object.bytes)
      },
      segmentDeleted: async ({ objectId }) => {
        await work()
        this.objects.delete(objectId)
        this.deleted.push(objectId)
      },
    }
  }

  /** What is stored a second time is the object it was. */
  #idOf(dataPath: string, bytes: Buffer, prng: Prng): string {
    for (const [id, object] of this.objects) if (object.dataPath === dataPath && object.bytes.equals(bytes)) return id
    const id = prng.bytes(16).toString('hex')
    this.objects.set(id, { dataPath, bytes })
    return id
  }

  /** Hooks of a reader that looks and leaves everything as it is. */
  lookingHooks(storage: SimulatedStorage, prng: Prng): Hooks {
    const refuse = async () => {
      throw new HookFailed('only looking')
    }
    return { ...this.hooks(storage, prng, { turnsMax: 0 }), segmentClosed: refuse, segmentDeleted: refuse }
  }
}
