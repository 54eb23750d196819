import { randomBytes } from 'node:crypto'
import { copyFile, mkdir } from 'node:fs/promises'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { RecordBackend } from '../src/backend/backend.ts'
import { MemoryRecordBackend } from '../src/backend/memory-backend.ts'
import { StorError } from '../src/errors.ts'
import type { Identity } from '../src/identity/identity.ts'
import { completeRotation } from '../src/identity/key-rotation.ts'
import { openIdentity } from '../src/identity/open-identity.ts'
import { MasterSecret, type MasterSource } from '../src/master-secret.ts'
import { MemberBackend } from '../src/metadata/member-backend.ts'
import { MetaStore } from '../src/metadata/meta-store.ts'

/** The process dies: everything that would be written from now on is not. */
export class Crash extends Error {}

/** Metadata backends in memory, all of which stop taking writes after so many. */
export class Disks {
  readonly #backends = new Map<string, MemoryRecordBackend>()
  readonly gone = new Set<string>()
  writesLeft = Number.POSITIVE_INFINITY

  backend(name: string): RecordBackend {
    const inner = () => this.#backends.getOrInsertComputed(name, () => new MemoryRecordBackend(name))
    const write = () => {
      this.#ask(name)
      if (this.writesLeft-- <= 0) throw new Crash()
    }
    return {
      name,
      set: async (key, bytes) => {
        write()
        await inner().set(key, bytes)
      },
      get: async key => {
        this.#ask(name)
        return inner().get(key)
      },
      remove: async key => {
        write()
        await inner().remove(key)
      },
      list: () => {
        this.#ask(name)
        return inner().list()
      },
      stat: () => inner().stat(),
      [Symbol.asyncDispose]: async () => undefined,
    }
  }

  /** A disk was exchanged: the backend is empty. */
  wipe(name: string): void {
    this.#backends.delete(name)
  }

  #ask(name: string): void {
    if (this.gone.has(name)) throw new StorError('unavailable', `${name} is gone`)
  }
}

export interface Opened {
  readonly identity: Identity
  readonly meta: MetaStore
  readonly members: readonly MemberBackend[]
}

/** A store's identity and records on `disks`, opened anew with each call as a start does it. */
export class IdentityRig {
  readonly disks = new Disks()
  readonly path: string
  dataHoldsShards = false

  constructor(path: string) {
    this.path = path
  }

  static async make(stack: AsyncDisposableStack): Promise<IdentityRig> {
    return new IdentityRig(stack.use(await temporaryDirectory()).path)
  }

  get keyFile(): string {
    return `${this.path}/master`
  }

  /** A copy of the key file as it is now, as the source of a start elsewhere. */
  async keyCopy(): Promise<MasterSource> {
    const directory = `${this.path}/${randomBytes(6).toString('hex')}`
    await mkdir(directory)
    await copyFile(this.keyFile, `${directory}/master`)
    return { kind: 'file', path: `${directory}/master` }
  }

  async open(
    names: readonly string[],
    {
      source = { kind: 'file', path: this.keyFile } as MasterSource,
      dataShards = 2,
      master = new MasterSecret(source, randomBytes, silentLog),
      complete = true,
    } = {},
  ): Promise<Opened> {
    const members = names.map(name => new MemberBackend(this.disks.backend(name), ''))
    const records = (identity: Identity, remaining?: readonly MemberBackend[]) => {
      const present = identity.places.flatMap((backend, place) => {
        if (backend === null || (remaining && !remaining.includes(backend))) return []
        const isDown = () => this.disks.gone.has(backend.name)
        return [{ backend, place, isDown, isBlank: () => backend.blank && !isDown() }]
      })
      return new MetaStore(present, identity.superblock.keys, systemClock, randomBytes, silentLog, {
        ...{ dataShards, memberSet: identity.superblock.memberSet, epoch: 1 },
        ...{ answerWithinMs: 20_000, settleWithinMs: 20_000, allMustAnswer: remaining !== undefined },
      })
    }
    const identity = await openIdentity(members, {
      ...{ clock: systemClock, random: randomBytes, log: silentLog, master, dataShards, records },
      dataHoldsShards: async () => this.dataHoldsShards,
    })
    if (complete) await completeRotation(identity)
    return { identity, meta: records(identity), members }
  }
}
