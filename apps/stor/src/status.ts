import { type Clock, delay } from '@qsfs/concurrency/clock'
import type { BackendStatus, JobsStatus, StatusResult, TestResult } from '@qsfs/protocol/stor-control'
import { type DataPlace, type SeenBackend, SHARD_BYTES_MIN } from './backend/fleet.ts'
import type { BackendConfig } from './config.ts'
import { StorError } from './errors.ts'
import { objectIdOfKey } from './metadata/name-record.ts'
import { quorumOf } from './metadata/quorum.ts'
import { choosePlacement, type Placement } from './placement.ts'
import type { OpenStore, Runtime } from './runtime.ts'

/** Status waits for the first listing of a store only so long. */
const LISTING_WITHIN_MS = 2000

/** Counts objects by listing them once, then by what was stored and deleted since. */
export class ObjectCount {
  readonly #clock: Clock
  #listed: Promise<number | null> | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Null while it is not known: a listing that takes long goes on, and the next status has it. */
  async of({ now: { open } }: Runtime): Promise<number | null> {
    if (open === null) return null
    this.#listed ??= this.#list(open)
    const listed = await Promise.race([this.#listed, delay(this.#clock, LISTING_WITHIN_MS).then(() => null)])
    return listed === null ? null : Math.max(0, listed + open.objects.sinceStart.countChange)
  }

  async #list({ meta, objects }: OpenStore): Promise<number | null> {
    const before = objects.sinceStart.countChange
    try {
      const keys = await meta.list()
      return keys.filter(key => objectIdOfKey(key) !== null).length - before
    } catch (error) {
      this.#listed = null
      if (error instanceof StorError) return null
      throw error
    }
  }
}

/** How the store is now: from the monitor's last checks, so it answers at once even when a backend hangs. */
export async function statusOf(
  runtime: Runtime,
  count: ObjectCount,
  daemon: boolean,
  jobs: JobsStatus | null = null,
): Promise<StatusResult> {
  const { config, fleet } = runtime
  const { open, obstacle } = runtime.now
  const { k, n } = config.redundancy
  const upkeep = open?.upkeep.status
  const repair = daemon && open !== null ? open.repairer.status : null
  const meta = quorumOf(config.metaDataShards, config.metaBackends.length)
  const objectCount = await count.of(runtime)
  // Where every object has a shard on every backend, one that holds nothing lost its shards: its disk was exchanged.
  const lastStoredMs = open?.objects.sinceStart.lastStoredMs ?? 0
  const isEmptied = ({ backend }: DataPlace) => {
    const { stat, statAtMs } = fleet.observeData(backend.name)
    // A check from before the first store saw nothing, and rightly so.
    return (objectCount ?? 0) > 0 && fleet.data.length === n && stat?.valueCount === 0 && statAtMs > lastStoredMs
  }
  const lostCount = fleet.data.filter(place => fleet.isDown(place.backend.name) || isEmptied(place)).length
  const metaUpCount = fleet.meta.filter(({ backend }) => !fleet.isMetaDown(backend.name)).length
  const reason =
    open === null ? obstacle || 'the store is being opened' : unwritable(runtime, metaUpCount, meta.writeQuorum)
  return {
    daemon,
    ...{ k, n, metaK: meta.k, metaN: meta.n, metaWriteQuorum: meta.writeQuorum },
    objectCount,
    thinObjectCount: daemon ? (open?.repairer.thinCount ?? 0) : null,
    // Of an object at full width, or of the thinnest that is known to be thinner.
    marginLocations: Math.min(n - k - lostCount, repair?.thinnestMargin ?? Number.POSITIVE_INFINITY),
    writable: reason === '',
    reason,
    fillingBackends: upkeep?.filling ?? [],
    laggingBackends: daemon ? (upkeep?.lagging ?? []) : [],
    otherDaemonSeenMs: upkeep?.otherSeenMs ?? null,
    rootKeyCount: upkeep?.rootKeyCount ?? 0,
    rewrapping: upkeep?.rewrapping ?? null,
    storesRunning: open?.objects.running.stores ?? 0,
    retrievesRunning: open?.objects.running.retrieves ?? 0,
    jobs,
    repair,
    backends: [
      ...fleet.meta.map(place =>
        toStatus(place.config, 'meta', { group: 0, groupName: '' }, fleet.seen(place, 'meta')),
      ),
      ...fleet.data.map(place => {
        const seen = fleet.seen(place, 'data')
        const group = { group: place.group + 1, groupName: config.groupNames[place.group]! }
        const note = isEmptied(place)
          ? 'it holds nothing although objects are stored: their shards there are lost'
          : seen.note
        return toStatus(place.config, 'data', group, { ...seen, note })
      }),
    ],
  }
}

/** Tries every backend: connection, mode, and on data backends a value written, synced, read back and removed; then the
 *  placement. Nothing of the store is changed. */
export async function testStore(runtime: Runtime): Promise<TestResult> {
  const { fleet, config } = runtime
  const lines = await Promise.all([
    ...fleet.meta.map(({ backend }) =>
      tried(`metadata ${backend.name}`, async () => durabilityText((await backend.stat()).durability)),
    ),
    ...fleet.data.map(({ backend }) =>
      tried(`data ${backend.name}`, async () => {
        const bytes = Buffer.from('a piece that stor test writes and removes')
        const id = await backend.put(bytes)
        await backend.sync({ ids: [id] })
        const isSame = (await backend.get(id)).equals(bytes)
        await backend.remove([id])
        if (!isSame) throw new StorError('damaged', 'it gives back other bytes than it was given')
        return `written and read back; ${durabilityText((await backend.stat()).durability)}`
      }),
    ),
    tried('store', async () => {
      await runtime.store()
      return 'its superblock opens with the master secret'
    }),
    tried('placement', async () => placementNow(runtime).explanation),
  ])
  return { ok: lines.every(({ ok }) => ok), lines: [...lines, ...config.remarks.map(remark)] }
}

const remark = (text: string) => ({ subject: 'config', ok: true, text })

async function tried(subject: string, action: () => Promise<string>): Promise<TestResult['lines'][number]> {
  try {
    return { subject, ok: true, text: await action() }
  } catch (error) {
    if (!(error instanceof StorError)) throw error
    // Errors begin with the backend that they are about, as the subject ends.
    const [name, ...rest] = error.message.split(': ')
    const isNamed = rest.length > 0 && subject.endsWith(` ${name}`)
    return { subject, ok: false, text: isNamed ? rest.join(': ') : error.message }
  }
}

function durabilityText(durability: BackendStatus['durability']): string {
  const texts = {
    disk: 'what it confirms is on its disk',
    memory: 'it keeps everything in memory',
    unknown: 'it has no FSYNC: what it confirms is on its disk only if it was started with --sync',
  }
  return texts[durability]
}

/** Why no object can be stored now; '' when one can. */
function unwritable(runtime: Runtime, metaUpCount: number, metaQuorum: number): string {
  if (metaUpCount < metaQuorum) return `${metaUpCount} metadata backends are up, ${metaQuorum} are needed to store`
  try {
    placementNow(runtime)
    return ''
  } catch (error) {
    if (error instanceof StorError) return error.message
    throw error
  }
}

/** Where an empty object could go now. @throws StorError */
function placementNow({ fleet, config: { redundancy, writeQuorum } }: Runtime): Placement {
  return choosePlacement(fleet.candidates(SHARD_BYTES_MIN), redundancy, writeQuorum, size => Buffer.alloc(size))
}

function toStatus(
  { name, address, namespace }: BackendConfig,
  use: 'meta' | 'data',
  group: { readonly group: number; readonly groupName: string },
  { state, stat, isFull, isGivenUp, lastError, statAtMs: _, ...seen }: SeenBackend,
): BackendStatus {
  return {
    ...{ name, address, namespace, use, ...group, ...seen, health: state, full: isFull, givenUp: isGivenUp },
    lastError: lastError?.text ?? '',
    lastErrorMs: lastError?.atMs ?? null,
    entryCount: stat?.valueCount ?? 0,
    usedBytes: stat?.usedBytes ?? null,
    freeBytes: stat?.freeBytes ?? null,
    durability: stat?.durability ?? 'unknown',
    tls: stat?.link?.tls ?? null,
    passwordsSent: stat?.link?.passwordsSent ?? 'none',
  }
}
