import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import test, { after } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { Fleet } from '../src/backend/fleet.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { Repairer } from '../src/repair/repairer.ts'
import { RepairRig } from './repair-rig.ts'
import { until } from './store-fixture.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

test('what finds no room in the queue of repairs is found again as soon as there is some', async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const rig = new RepairRig(pool)
  await writeFile(`${path}/f`, randomBytes(100_000))
  for (let i = 0; i < 4; i++) await rig.store(`${path}/f`)
  const [lost] = rig.data
  for await (const ids of lost!.list()) await lost!.remove(ids)

  const counts = new Map<string, number>()
  const recount = async () => {
    for (const backend of rig.data) counts.set(backend.name, (await backend.stat()).valueCount)
  }
  const no = () => false
  const fleet = {
    ...rig.fleet(),
    data: rig.data.map(backend => ({ backend })),
    observeData: (name: string) => ({ reachable: true, stat: { valueCount: counts.get(name)! }, statAtMs: 0 }),
    ...{ isGivenUp: no, isDraining: no },
  }
  await recount()
  const { keys } = rig.pipeline
  const repairer = new Repairer(
    {
      ...{ meta: rig.meta(), fleet: fleet as unknown as Fleet, keys, log: silentLog, isReading: no },
      ...{ clock: systemClock, random: randomBytes },
    },
    {
      redundancy: { k: 4, n: 6, redundantGroups: 0, redundantNodes: 2 },
      ...{ bytesPerSecond: 1e12, cpuShare: 1e12, concurrency: 1, queueMax: 1 },
      ...{ scrubPeriodMs: 1e12, orphanGraceMs: 1e12, answerWithinMs: 60_000, pollMs: 5 },
    },
  )
  stack.use(repairer)
  repairer.start()
  await until(async () => {
    await recount()
    return repairer.status.rebuiltShardCount === 4
  })
  assert.strictEqual((await lost!.stat()).valueCount, 8)
})
