import assert from 'node:assert'
import { test } from 'node:test'
import { KiB } from '@qsfs/bytes/units'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { LogModel } from '../../apps/fs/test/log-model.ts'
import { FilesystemModel } from './filesystem-model.ts'
import { Misfortune } from './misfortune.ts'

/** fs and cachedb in one process over a simulated disk: at any operation on it the power fails or somebody is killed, also
 *  during the recovery from the time before. */
const worlds = {
  'the metadata log': {
    historyCount: 700,
    segmentBytesMax: 4 * KiB,
    run: (misfortune: Misfortune, prng: Prng) => logModel(misfortune, prng).run(40),
  },
  'the whole filesystem': {
    historyCount: 300,
    segmentBytesMax: 128 * KiB,
    run: (misfortune: Misfortune, prng: Prng) => new FilesystemModel(misfortune, prng).run(60),
  },
}

for (const [name, { historyCount, segmentBytesMax, run }] of Object.entries(worlds)) {
  test(`${historyCount} histories of ${name} over cachedb survive power cuts and kills at any operation`, async t => {
    const seeds = seededPrng(t)
    let startCount = 0
    for (let i = 0; i < historyCount; i++) {
      const seed = seeds.below(2 ** 32)
      const prng = prngFromSeed(seed)
      await using misfortune = new Misfortune(prng, { segmentBytesMax })
      const finding = await run(misfortune, prng).catch(error => {
        throw new Error(`history ${i} with seed ${seed}`, { cause: error })
      })
      assert.equal(finding, null, `history ${i} with seed ${seed}: ${finding}`)
      startCount += misfortune.server.startCount
    }
    t.diagnostic(`the server was started ${startCount} times`)
  })
}

function logModel(misfortune: Misfortune, prng: Prng): LogModel {
  const disk = {
    open: () => misfortune.open(),
    crash: () => misfortune.crash(),
    isCrash: (error: unknown) => misfortune.isCrash(error),
  }
  return new LogModel(disk, prng)
}
