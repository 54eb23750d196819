import { SHARD_BYTES_MIN } from './backend/fleet.ts'
import { StorError } from './errors.ts'
import { objectKey } from './metadata/name-record.ts'
import { encodeRecord } from './metadata/object-record.ts'
import type { StoreContext } from './object-store.ts'
import { type NewRecord, storeObject } from './pipeline/store.ts'
import { choosePlacement } from './placement.ts'
import { openSource } from './segment-file.ts'
import type { JobContext } from './shared-jobs.ts'

/** What becomes an object, under which name. */
export interface UploadSource {
  readonly name: string
  readonly path: string
  readonly attach: string | undefined
}

/** A backend that turns out to be full is known for it: the next attempt is placed elsewhere, as long as there is room. */
const ATTEMPTS_MAX = 3

/** Stores a file as a new object, where there is room for it, and commits its record. Below the write quorum for want of
 *  room it is placed anew, without those that refused.
 *  @throws StorError 'too-few-shards', and what `storeObject` throws */
export async function uploadObject(source: UploadSource, context: UploadContext, job: JobContext): Promise<NewRecord> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await uploadOnce(source, context, job)
    } catch (error) {
      const isForRoom = error instanceof StorError && isFull(error.cause)
      if (!isForRoom || attempt === ATTEMPTS_MAX) throw error
      context.log.warn('object.placed_again', { error })
    }
  }
}

type UploadContext = Pick<StoreContext, 'config' | 'fleet' | 'meta' | 'pool' | 'keys' | 'clock' | 'random' | 'log'>

async function uploadOnce({ name, path, attach }: UploadSource, context: UploadContext, job: JobContext) {
  const { config, fleet, meta, pool, keys, clock, random, log } = context
  const { redundancy, writeQuorum } = config
  const shardBytes = await shardBytesOf(path, redundancy.k)
  const placement = choosePlacement(fleet.candidates(shardBytes), redundancy, writeQuorum, random)
  log.debug('object.placed', { explanation: placement.explanation })
  const request = {
    path,
    name,
    ...(attach === undefined ? {} : { attachmentPath: attach }),
    backends: placement.shards.map(({ backend }) => fleet.backend(backend)!),
    ...{ dataShards: redundancy.k, writeQuorum },
    frameBytes: config.frameBytes,
    epoch: 1,
    compress: config.compress,
    verifyFrames: config.verifyEncode,
    onProgress: job.progress,
  }
  const owed = new Set(placement.shards.filter(shard => shard.owed).map(({ backend }) => backend))
  const isDown = (backend: string) => owed.has(backend) || fleet.isDown(backend)
  return storeObject(
    request,
    { pool, keys, clock, random, log, isDown },
    // The commit point. Not interrupted: half a commit would have to be settled by the next one.
    async record => {
      await meta.put(objectKey(record.objectId), ({ generation, memberSet }) =>
        encodeRecord({ ...record, generation, memberSet }),
      )
    },
    { signal: job.signal },
  )
}

/** Room that a backend must have for a shard: the piece checks and its server's own bytes come on top, 2 % and 1 MiB are ample. */
async function shardBytesOf(path: string, dataShards: number): Promise<number> {
  await using source = await openSource(path)
  return Math.ceil((source.sizeBytes / dataShards) * 1.02) + SHARD_BYTES_MIN
}

function isFull(cause: unknown): boolean {
  return cause instanceof StorError && cause.reason === 'full'
}
