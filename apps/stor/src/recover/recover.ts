import type { Clock } from '@qsfs/concurrency/clock'
import type { KeyRing } from '@qsfs/crypto/keys'
import type { RecoverProgress, RecoverResult } from '@qsfs/protocol/stor-control'
import type { Log } from '@qsfs/telemetry/log'
import type { Backend } from '../backend/backend.ts'
import type { Fleet } from '../backend/fleet.ts'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { decodeNameRecord, encodeNameRecord, nameKey, objectKey } from '../metadata/name-record.ts'
import { decodeRecord, encodeRecord } from '../metadata/object-record.ts'
import { type RebuiltRecord, rebuildRecord } from './rebuild-record.ts'
import { type ScanResult, scanBackends } from './scan.ts'

/** Where records go. */
export interface RecoveryTarget {
  readonly meta: MetaStore
  readonly keys: KeyRing
  /** Makes the metadata backends this store's, when all records are there. */
  commit(): Promise<void>
}

/** Objects whose loss is told by name. */
const TOLD_MAX = 1000

interface RecoverOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: RecoverProgress) => void
}

/** Rebuilds the records that are missing from what lies on the data backends. Existing records are left alone. What an
 *  upload that was broken off left, or a deletion while its backend was away, is no object unless it is whole.
 *  @param open the store, or a new one from a copy of the superblock among what was found
 *  @throws StorError */
export async function recoverRecords(
  { data }: Pick<Fleet, 'data'>,
  open: (found: ScanResult) => Promise<RecoveryTarget>,
  clock: Clock,
  log: Log,
  { signal, onProgress = () => undefined }: RecoverOptions = {},
): Promise<RecoverResult> {
  const options = { signal }
  const backends = data.map(({ backend }) => backend)
  const pace = new Pace(clock, onProgress)
  pace.begin('reading', await countValues(backends, options))
  const found = await scanBackends(backends, { signal, onValue: () => pace.step(0) })
  const { meta, keys, commit } = await open(found)
  const names = backends.map(({ name }) => name)
  const lost: { objectId: string; reason: string }[] = []
  let [presentCount, recoveredCount, lostCount] = [0, 0, 0]
  const oldest = (object: { headers: readonly { startedMs: number }[] }) =>
    Math.min(...object.headers.map(({ startedMs }) => startedMs))
  // In the order of their storing: of two objects with one name the later one has it in the end.
  pace.begin('rebuilding', found.objects.size)
  for (const object of [...found.objects.values()].sort((a, b) => oldest(a) - oldest(b))) {
    signal?.throwIfAborted()
    const objectId = object.objectId.toString('hex')
    try {
      if ((await meta.getAny(objectKey(object.objectId), options)) !== null) {
        presentCount++
        continue
      }
      const record = await rebuildRecord(object, keys, names, options)
      await meta.put(objectKey(record.objectId), ({ generation, memberSet, previous }) =>
        previous === null ? encodeRecord({ ...record, generation, memberSet }) : null,
      )
      await nameIt(record, meta, keys)
      recoveredCount++
      log.event('record.recovered', { objectId, sizeBytes: record.sizeBytes })
    } catch (error) {
      signal?.throwIfAborted()
      // Too few metadata backends are an end; one object that cannot be rebuilt is none.
      if (!(error instanceof StorError) || error.reason === 'unavailable') throw error
      lostCount++
      if (lost.length < TOLD_MAX) lost.push({ objectId, reason: error.message })
      log.warn('record.not_recovered', { objectId, error })
    } finally {
      pace.step(recoveredCount)
    }
  }
  await commit()
  const { valueCount, unread } = found
  return { valueCount, presentCount, recoveredCount, lostCount, lost, unreadBackends: unread }
}

/** Tells how far a phase is, and when it ends at its pace so far. */
class Pace {
  readonly #clock: Clock
  readonly #tell: (progress: RecoverProgress) => void
  #phase: RecoverProgress['phase'] = 'reading'
  #startedMs = 0
  #doneCount = 0
  #totalCount = 0

  constructor(clock: Clock, tell: (progress: RecoverProgress) => void) {
    this.#clock = clock
    this.#tell = tell
  }

  begin(phase: RecoverProgress['phase'], totalCount: number): void {
    this.#phase = phase
    this.#startedMs = this.#clock.monotonicMs()
    this.#doneCount = 0
    this.#totalCount = totalCount
    this.#say(0)
  }

  step(recoveredCount: number): void {
    this.#doneCount++
    this.#totalCount = Math.max(this.#totalCount, this.#doneCount)
    this.#say(recoveredCount)
  }

  #say(recoveredCount: number): void {
    const [doneCount, totalCount] = [this.#doneCount, this.#totalCount]
    const tookMs = this.#clock.monotonicMs() - this.#startedMs
    const etaMs = doneCount === 0 ? null : Math.round((tookMs / doneCount) * (totalCount - doneCount))
    this.#tell({ phase: this.#phase, doneCount, totalCount, recoveredCount, etaMs })
  }
}

/** What the backends say that they hold; one that does not answer counts for nothing. */
async function countValues(backends: readonly Backend[], options: { readonly signal?: AbortSignal }): Promise<number> {
  const counts = await Promise.all(
    backends.map(async backend => {
      try {
        return (await backend.stat(options)).valueCount
      } catch (error) {
        options.signal?.throwIfAborted()
        if (error instanceof StorError) return 0
        throw error
      }
    }),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Lets the name stand for this object unless it stands for one that was stored later. */
async function nameIt(record: RebuiltRecord, meta: MetaStore, keys: KeyRing): Promise<void> {
  const { name, objectId, sizeBytes, sha256, createdMs } = record
  const key = nameKey(keys.nameHash(name))
  const stored = await meta.getAny(key)
  const named = stored === null ? null : decodeNameRecord(stored.bytes)
  if (named !== null && !named.objectId.equals(objectId)) {
    const other = await meta.getAny(objectKey(named.objectId))
    if (other !== null && decodeRecord(other.bytes).createdMs > createdMs) return
  }
  await meta.put(key, () => encodeNameRecord({ name, state: 'live', objectId, sizeBytes, sha256 }))
}
