import type { Log } from '@qsfs/telemetry/log'
import { StorError } from '../errors.ts'
import type { MetaStore } from '../metadata/meta-store.ts'
import { objectIdOfKey } from '../metadata/name-record.ts'
import { decodeRecord, type ObjectRecord } from '../metadata/object-record.ts'
import { NamedPieces } from './named-pieces.ts'

export interface Surveyed {
  readonly named: NamedPieces
  readonly recordCount: number
  /** Records that could not be read now; whatever they name is asked for again before it is removed. */
  readonly unreadableCount: number
}

/** Reads every object's record, one at a time, and shows the live ones by ascending id.
 *  @throws StorError when the metadata backends do not list */
export async function surveyRecords(
  meta: MetaStore,
  log: Log,
  signal: AbortSignal,
  onLive: (record: ObjectRecord) => void,
): Promise<Surveyed> {
  const named = new NamedPieces()
  let [recordCount, unreadableCount] = [0, 0]
  for (const key of (await meta.list({ signal })).sort(Buffer.compare)) {
    const objectId = objectIdOfKey(key)
    if (objectId === null) continue
    try {
      const stored = await meta.getAny(key, { signal })
      if (stored === null) continue
      const record = decodeRecord(stored.bytes)
      recordCount++
      named.add(record)
      if (record.state === 'live') onLive(record)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      unreadableCount++
      log.debug('survey.record_unreadable', { objectId: objectId.toString('hex'), error })
    }
  }
  return { named, recordCount, unreadableCount }
}
