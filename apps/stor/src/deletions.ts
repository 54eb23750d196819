import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import type { DeleteResult } from '@qsfs/protocol/stor-control'
import type { Fleet } from './backend/fleet.ts'
import { StorError } from './errors.ts'
import { decodeNameRecord, encodeNameRecord, nameKey, objectIdOfKey, objectKey } from './metadata/name-record.ts'
import { decodeRecord, encodeRecord, type ObjectRecord, type OwedRemoval } from './metadata/object-record.ts'
import type { StoreContext } from './object-store.ts'
import { placesOf, removePieces } from './removal.ts'

interface SignalOptions {
  readonly signal?: AbortSignal
}

/** What deleting needs of the store. */
export type DeletionContext = Pick<StoreContext, 'meta' | 'keys' | 'log'> & {
  readonly fleet: Pick<Fleet, 'backend' | 'isDown'>
}

/** Deletes objects, and remembers what backends that are away owe of it. */
export class Deletions {
  readonly #context: DeletionContext
  readonly #objects = new KeyedMutex<string>()
  /** By the ids of deleted objects: the backends that their last pieces wait for. */
  readonly #owing = new Map<string, readonly string[]>()

  constructor(context: DeletionContext) {
    this.#context = context
  }

  /** Marks the object deleted on the metadata quorum, then removes its pieces, then forgets it where all confirmed.
   *  Repeating it finishes what an earlier one owed. `wasLive`: it was this call that deleted it.
   *  @throws StorError */
  delete(objectId: Buffer, { signal }: SignalOptions = {}): Promise<DeleteResult & { readonly wasLive: boolean }> {
    const { meta, keys, fleet, log } = this.#context
    const id = objectId.toString('hex')
    return this.#objects.run(id, async () => {
      const stored = await meta.get(objectKey(objectId), { signal })
      if (stored === null) {
        this.#owing.delete(id)
        return { found: false, wasLive: false, objectId: id, owedBackends: [] }
      }
      const record = decodeRecord(stored.bytes)
      const wasLive = record.state === 'live'
      // Deleted for all readers before the first piece goes, and all that is to go is owed from then on.
      const places = wasLive ? await this.#bury(record) : record.owed
      this.#owing.set(id, [])
      await this.#unname(record)
      const owed = await removePieces(objectId, places, fleet, signal)
      const owedBackends = [...new Set(owed.map(({ backend }) => backend))]
      if (owed.length > 0) {
        if (wasLive || owed.length < places.length) await this.#bury(record, owed)
        this.#owing.set(id, owedBackends)
      } else {
        // Forgotten only where every member confirmed the deletion; else the tombstone stays, and does no harm.
        await meta.forget(objectKey(objectId))
        await meta.forget(nameKey(keys.nameHash(record.name)), { onlyIf: isDeletedName })
        this.#owing.delete(id)
      }
      log.event('object.deleted', { objectId: id, owedBackends })
      return { found: true, wasLive, objectId: id, owedBackends }
    })
  }

  /** Finds what earlier processes could not finish. One record at a time: nobody waits for it. One that cannot be read
   *  hides no other.
   *  @throws StorError when the metadata does not list, or for the first record that could not be read */
  async findOwed({ signal }: SignalOptions = {}): Promise<void> {
    const { meta } = this.#context
    const options = { signal }
    await eachOf(await meta.list(options), signal, async key => {
      const objectId = objectIdOfKey(key)
      const stored = objectId && (await meta.getAny(key, options))
      const record = stored && decodeRecord(stored.bytes)
      if (!objectId || record?.state !== 'deleted') return
      const backends = record.owed.map(({ backend }) => backend)
      this.#owing.set(objectId.toString('hex'), backends)
    })
  }

  /** Sends what is owed to backends that are back; an object that cannot be settled holds no other up.
   *  @throws StorError the first of their failures */
  async settleOwed({ signal }: SignalOptions = {}): Promise<void> {
    const { fleet } = this.#context
    const isBack = (name: string) => fleet.backend(name) !== undefined && !fleet.isDown(name)
    await eachOf(this.#owing, signal, async ([id, backends]) => {
      const isDue = backends.length === 0 || backends.some(isBack)
      if (isDue) await this.delete(Buffer.from(id, 'hex'), { signal })
    })
  }

  /** @param left what is still to go; without it all places that the record has by now: shards may just have moved
   *  @returns what is owed now */
  async #bury({ objectId }: ObjectRecord, left?: readonly OwedRemoval[]): Promise<readonly OwedRemoval[]> {
    let owed = left ?? []
    await this.#context.meta.put(objectKey(objectId), ({ previous, generation, memberSet }) => {
      if (previous === null) return null
      const now = decodeRecord(previous)
      owed = left ?? (now.state === 'live' ? placesOf(now) : now.owed)
      return encodeRecord({ ...now, state: 'deleted', owed, generation, memberSet })
    })
    return owed
  }

  /** The name stands for nothing any more, if it stood for this object. */
  async #unname({ name, objectId }: ObjectRecord): Promise<void> {
    const { meta, keys } = this.#context
    await meta.put(nameKey(keys.nameHash(name)), ({ previous }) => {
      const named = previous === null ? null : decodeNameRecord(previous)
      const isOurs = named?.state === 'live' && named.objectId.equals(objectId)
      return isOurs ? encodeNameRecord({ ...named, state: 'deleted' }) : null
    })
  }
}

/** Does it for each, also after one failed.
 *  @throws StorError the first failure, when all had their turn */
async function eachOf<T>(items: Iterable<T>, signal: AbortSignal | undefined, action: (item: T) => Promise<void>) {
  let failure: StorError | null = null
  for (const item of items) {
    try {
      await action(item)
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      failure ??= error
    }
  }
  if (failure !== null) throw failure
}

const isDeletedName = (bytes: Buffer) => decodeNameRecord(bytes).state === 'deleted'
