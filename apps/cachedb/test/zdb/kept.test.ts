import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Compactor } from '../../src/engine/compaction/compactor.ts'
import { engineContext, openNamespace } from '../engine-fixture.ts'
import { SimulatedStorage } from '../simulated-storage.ts'

test('of a namespace that is never compacted nothing leaves: the numbers of its files have no gap', async () => {
  for (const [excluded, expected] of [
    [['ns'], ['d0', 'd1', 'd2', 'd3']],
    [['other'], ['d1', 'd2', 'd3']],
  ] as const) {
    const storage = new SimulatedStorage()
    const clock = new ManualClock()
    const options = { below: 0.5, bytesPerSecond: 0, excluded: new Set<string>(excluded) }
    const context = { ...engineContext(storage, prngFromSeed(1), { clock }), compactor: new Compactor(clock, options) }
    let puts = 0
    for (let start = 0; start < 2; start++) {
      await using namespace = await openNamespace(context, 'user')
      const put = (key: string) => namespace.put(Buffer.from(key), Buffer.from(`value ${puts++}`))
      if (start === 0) {
        put('a')
        namespace.jump()
        put('a')
        put('b')
        namespace.jump()
        put('c')
        namespace.jump()
        put('a')
      }
      for (let second = 0; second < 5; second++) {
        for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
        await clock.advance(1_000)
      }
      const files = storage.list('/data/ns').map(({ name }) => name)
      assert.deepEqual(files.filter(name => /^d\d+$/.test(name)).sort(), expected)
    }
  }
})
