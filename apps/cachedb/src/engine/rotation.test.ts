import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { engineContext, openNamespace } from '../../test/engine-fixture.ts'
import { SimulatedStorage } from '../../test/simulated-storage.ts'
import { Rotation } from './rotation.ts'

test('a segment that has been open for long is closed when it holds something', async () => {
  const clock = new ManualClock()
  const storage = new SimulatedStorage()
  await using namespace = await openNamespace(engineContext(storage, prngFromSeed(1), { clock }), 'user')
  using _ = new Rotation(clock, silentLog, 10_000, () => [namespace])
  const activeAfter = async (ms: number) => {
    await clock.advance(ms)
    return namespace.info().activeSegmentId
  }
  assert.equal(await activeAfter(25_000), 0)
  namespace.put(Buffer.from('a'), Buffer.from('value'))
  assert.equal(await activeAfter(500), 1)
  namespace.put(Buffer.from('b'), Buffer.from('value'))
  assert.equal(await activeAfter(9_000), 1)
  assert.equal(await activeAfter(1_500), 2)

  // A full disk: it stays open, and goes when there is room.
  namespace.put(Buffer.from('c'), Buffer.from('value'))
  storage.capacityBytes = storage.usedBytes
  assert.equal(await activeAfter(15_000), 2)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  assert.equal(await activeAfter(500), 3)
})
