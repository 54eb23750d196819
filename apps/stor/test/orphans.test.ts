import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import test, { after } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { KeyedMutex } from '@qsfs/concurrency/keyed-mutex'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { StorError } from '../src/errors.ts'
import { objectKey } from '../src/metadata/name-record.ts'
import { encodeRecord } from '../src/metadata/object-record.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { readRange } from '../src/pipeline/retrieve.ts'
import { idsOfRuns } from '../src/pipeline/shard-writer.ts'
import { RepairBudget } from '../src/repair/budget.ts'
import { NamedPieces } from '../src/repair/named-pieces.ts'
import { sweepOrphans } from '../src/repair/orphans.ts'
import { PipelineRig } from './pipeline-rig.ts'
import { type Interceptor, RepairRig } from './repair-rig.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

const DAY_MS = 24 * 60 * 60 * 1000
const readAll = { of: 'file', offsetBytes: 0, lengthBytes: 1e9 } as const

/** A backend with a shard of a stored object (2 pieces), of an upload that died before its record (2), of another store's
 *  object (2), and something else (1). */
async function strewn(stack: AsyncDisposableStack) {
  const { path } = stack.use(await temporaryDirectory())
  const rig = new RepairRig(pool)
  const content = randomBytes(100_000)
  await writeFile(`${path}/f`, content)
  const objectId = await rig.store(`${path}/f`)
  const backend = rig.data[0]!
  const named = new NamedPieces()
  named.add(await rig.record(objectId))
  const broken = await rig.pipeline.store(`${path}/f`)
  const neighbour = new PipelineRig(pool, [...rig.data])
  const theirs = await neighbour.store(`${path}/f`)
  await backend.put(randomBytes(1000))
  const sweep = (aheadMs: number, intercept?: Interceptor) =>
    sweepOrphans(backend, named, {
      ...{ meta: rig.meta(intercept), keys: rig.pipeline.keys, log: silentLog, graceMs: DAY_MS },
      clock: { ...systemClock, nowMs: () => systemClock.nowMs() + aheadMs },
      budget: new RepairBudget(systemClock, () => false, {
        bytesPerSecond: 1e12,
        cpuShare: 1e12,
        answerWithinMs: 10_000,
      }),
      objects: new KeyedMutex(),
    })
  const areReadable = async () =>
    (await rig.read(objectId)).equals(content) &&
    (await readRange(theirs, readAll, neighbour.readContext)).equals(content)
  return { rig, objectId, backend, broken, content, sweep, areReadable }
}

test('only old pieces of ours that no record names are removed', async () => {
  await using stack = new AsyncDisposableStack()
  const { backend, sweep, areReadable } = await strewn(stack)
  assert.deepStrictEqual(await sweep(0), { removedCount: 0, youngCount: 2, unknownCount: 3 })
  assert.deepStrictEqual(await sweep(DAY_MS - 60_000), { removedCount: 0, youngCount: 2, unknownCount: 3 })
  assert.strictEqual((await backend.stat()).valueCount, 7)
  assert.deepStrictEqual(await sweep(DAY_MS), { removedCount: 2, youngCount: 0, unknownCount: 3 })
  assert.strictEqual((await backend.stat()).valueCount, 5)
  assert.ok(await areReadable())
})

test('pieces of a put that was repeated, beside no header, go when their object is old; copies of the superblock are known', async () => {
  await using stack = new AsyncDisposableStack()
  const { rig, objectId, backend, sweep, areReadable } = await strewn(stack)
  const { shards } = await rig.record(objectId)
  const { runs } = shards.find(shard => shard.backend === backend.name)!
  await backend.put(await backend.get([...idsOfRuns(runs)][1]!))
  await backend.put(Buffer.from('QSSB and what a superblock holds'))
  assert.deepStrictEqual(await sweep(0), { removedCount: 0, youngCount: 3, unknownCount: 3 })
  assert.deepStrictEqual(await sweep(DAY_MS), { removedCount: 3, youngCount: 0, unknownCount: 3 })
  assert.deepStrictEqual(await sweep(DAY_MS), { removedCount: 0, youngCount: 0, unknownCount: 3 })
  assert.ok(await areReadable())
})

test('a record written after the survey, or one that cannot be read now, keeps its pieces', async () => {
  await using stack = new AsyncDisposableStack()
  const { rig, broken, content, sweep } = await strewn(stack)
  const silent = () => {
    throw new StorError('unavailable', 'away')
  }
  assert.strictEqual((await sweep(2 * DAY_MS, silent)).removedCount, 0)
  await rig
    .meta()
    .put(objectKey(broken.objectId), ({ generation, memberSet }) => encodeRecord({ ...broken, generation, memberSet }))
  assert.strictEqual((await sweep(2 * DAY_MS)).removedCount, 0)
  assert.ok((await rig.read(broken.objectId)).equals(content))
})
