import type { Clock } from '@qsfs/concurrency/clock'
import type { ControlContext, ControlHandler } from '@qsfs/daemon/control'
import {
  type CheckParams,
  type CheckResult,
  checkParams,
  type DropJobResult,
  deleteParams,
  type JobsResult,
  jobsParams,
  planParams,
  type RebuildParams,
  type RecoverProgress,
  type RotateKeyResult,
  rebuildParams,
  recoverParams,
  retrieveParams,
  rotateKeyParams,
  StorErrorCode,
  statusParams,
  storeParams,
  type TransferProgress,
  testParams,
} from '@qsfs/protocol/stor-control'
import type { z } from 'zod'
import { StorError } from './errors.ts'
import type { JobQueue } from './jobs/job-queue.ts'
import { storeFile } from './jobs/store-file.ts'
import { findByZstorKey } from './metadata/find-by-key.ts'
import { planOf } from './plan/plan.ts'
import type { Runtime } from './runtime.ts'
import { ObjectCount, statusOf, testStore } from './status.ts'

/** A request that does not have the shape of its verb. */
class WrongRequest extends Error {
  readonly code = StorErrorCode.usage
}

/** What the asker left, or the daemon ended, before it was done. */
class Aborted extends Error {
  readonly code = StorErrorCode.aborted
}

/** Progress lines per second are enough for eyes; frames are not counted one by one on the wire. */
const PROGRESS_EVERY_MS = 100

/** The verbs of the control socket: check the parameters, hand them to the store, answer. */
export function controlHandlers(runtime: Runtime, clock: Clock, jobs: JobQueue | null): Record<string, ControlHandler> {
  const count = new ObjectCount(clock)
  const objects = async (signal?: AbortSignal) => (await runtime.store(signal)).objects
  const desk = { objects, jobs, root: runtime.config.root }
  return {
    store: verb(storeParams, (params, context) =>
      storeFile(desk, params, { signal: context.signal, onProgress: thinned(context, clock) }),
    ),
    retrieve: verb(retrieveParams, async (params, context) => {
      const { range, attachmentTo } = params
      if (range !== undefined && attachmentTo !== undefined) throw new WrongRequest('a range is of the file alone')
      const { signal } = context
      return await (await objects(signal)).retrieve(params, { signal, onProgress: thinned(context, clock) })
    }),
    check: verb(checkParams, async (params, { signal }) => checked(runtime, params, signal)),
    delete: verb(deleteParams, async (params, { signal }) => (await objects(signal)).delete(params, { signal })),
    recover: verb(recoverParams, (_, context) =>
      runtime.recover({
        signal: context.signal,
        onProgress: thinned(context, clock, ({ doneCount, totalCount }: RecoverProgress) => doneCount === totalCount),
      }),
    ),
    'rotate-key': verb(rotateKeyParams, async ({ deep = false }, { signal }): Promise<RotateKeyResult> => {
      const { upkeep } = await runtime.store(signal)
      // A daemon seals the records anew beside its other work.
      await upkeep.rotate({ deep, finish: !runtime.isDaemon }, { signal })
      return { rootKeyCount: upkeep.status.rootKeyCount }
    }),
    status: verb(statusParams, () => statusOf(runtime, count, true, jobs?.status ?? null)),
    jobs: verb(jobsParams, ({ drop }) => jobsOrDrop(jobs, drop)),
    rebuild: verb(rebuildParams, (params, context) => rebuild(runtime, params, context, clock)),
    plan: verb(planParams, async () => planOf(runtime.config, runtime.fleet.planned)),
    test: verb(testParams, () => testStore(runtime)),
  }
}

async function checked(runtime: Runtime, params: CheckParams, signal: AbortSignal): Promise<CheckResult> {
  const { objects, repairer } = await runtime.store(signal)
  if (params.deep !== true) {
    return params.checksum === false ? await objects.find(params, { signal }) : await objects.check(params, { signal })
  }
  // First the shards: what the record alone would say is no answer to that question.
  const found = await objects.find(params, { signal })
  if (found.objectId === null || !found.found) throw new StorError('not-found', 'no metadata found: entity not found')
  return { ...found, deep: await repairer.inspect(Buffer.from(found.objectId, 'hex'), { signal }) }
}

async function jobsOrDrop(jobs: JobQueue | null, drop: string | undefined): Promise<JobsResult | DropJobResult> {
  if (jobs === null) throw new StorError('refused', 'the config names no socket: there is no daemon and no job')
  return drop === undefined ? jobs.list : { dropped: await jobs.drop(Number(drop)) }
}

async function rebuild(runtime: Runtime, params: RebuildParams, context: ControlContext, clock: Clock) {
  const { file, objectId, key, all = false } = params
  const { signal } = context
  if ([file !== undefined, objectId !== undefined, key !== undefined, all].filter(given => given).length !== 1) {
    throw new WrongRequest('rebuild which? a file, an object id, a key, or all')
  }
  const { objects, meta, repairer } = await runtime.store(signal)
  const named = async () =>
    key === undefined
      ? [await objects.idOf({ file, objectId }, { signal })]
      : await findByZstorKey(key, runtime.config.metaPrefix, meta, { signal })
  const ids = all ? null : await named()
  const progress = thinned(context, clock)
  const onProgress = (doneBytes: number, totalBytes: number) => progress({ doneBytes, totalBytes })
  return repairer.rebuild(ids, { signal, ...(ids === null ? { onProgress } : {}) })
}

function verb<S extends z.ZodType>(
  schema: S,
  run: (params: z.output<S>, context: ControlContext) => Promise<unknown>,
): ControlHandler {
  return async (params, context) => {
    const parsed = schema.safeParse(params)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      throw new WrongRequest(`${issue?.path.join('.') || 'the request'}: ${issue?.message}`)
    }
    try {
      return await run(parsed.data, context)
    } catch (error) {
      if (!(error instanceof StorError) && context.signal.aborted) throw new Aborted('the asker is gone')
      throw error
    }
  }
}

/** At most ten a second, and the last one. */
function thinned<P = TransferProgress>(
  { progress }: ControlContext,
  clock: Clock,
  isLast: (value: P) => boolean = value => isTransferred(value as TransferProgress),
) {
  let lastMs = 0
  return (value: P) => {
    if (!isLast(value) && clock.monotonicMs() - lastMs < PROGRESS_EVERY_MS) return
    lastMs = clock.monotonicMs()
    progress(value)
  }
}

const isTransferred = ({ doneBytes, totalBytes }: TransferProgress) => doneBytes === totalBytes
