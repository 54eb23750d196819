import assert from 'node:assert'
import { test } from 'node:test'
import { KiB } from '@qsfs/bytes/units'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { LogModel } from '../../apps/fs/test/log-model.ts'
import { FilesystemModel } from './filesystem-model.ts'
import { Misfortune } from './misfortune.ts'

const stepsEnumerated = 15

/** fs and cachedb in one process over a simulated disk. */
const worlds = {
  'the metadata log': {
    historyCount: 600,
    enumeratedCount: 6,
    segmentBytesMax: 4 * KiB,
    run: (misfortune: Misfortune, prng: Prng, steps = 40) => logModel(misfortune, prng).run(steps),
  },
  'the whole filesystem': {
    historyCount: 400,
    enumeratedCount: 3,
    segmentBytesMax: 128 * KiB,
    run: (misfortune: Misfortune, prng: Prng, steps = 60) => new FilesystemModel(misfortune, prng).run(steps),
  },
}

for (const [name, { historyCount, enumeratedCount, segmentBytesMax, run }] of Object.entries(worlds)) {
  test(`${historyCount} histories of ${name} survive power cuts and kills at any operation, also of a recovery`, async t => {
    const seeds = seededPrng(t)
    let startCount = 0
    for (let i = 0; i < historyCount; i++) {
      const seed = seeds.below(2 ** 32)
      const prng = prngFromSeed(seed)
      await using misfortune = new Misfortune(prng, segmentBytesMax)
      assert.equal(await findingOf(run(misfortune, prng), seed), null, `history ${i} with seed ${seed}`)
      startCount += misfortune.server.startCount
    }
    t.diagnostic(`the server was started ${startCount} times`)
  })

  test(`${enumeratedCount} histories of ${name} survive a power cut at each operation in turn`, async t => {
    const seeds = seededPrng(t)
    let cutCount = 0
    for (let i = 0; i < enumeratedCount; i++) {
      const seed = seeds.below(2 ** 32)
      for (let operation = 0, isDone = false; !isDone; operation++) {
        const prng = prngFromSeed(seed)
        await using misfortune = new Misfortune(prng, segmentBytesMax, operation)
        const finding = await findingOf(run(misfortune, prng, stepsEnumerated), seed)
        assert.equal(finding, null, `history with seed ${seed}, cut at operation ${operation}`)
        isDone = !misfortune.hasStruck
        cutCount++
      }
    }
    t.diagnostic(`${cutCount} power cuts`)
  })
}

/** A history takes milliseconds: one that takes this long waits for something that never comes. */
const stuckAfterMs = 30_000

async function findingOf(run: Promise<string | null>, seed: number): Promise<string | null> {
  const stuck = Promise.withResolvers<string>()
  const timer = setTimeout(() => stuck.resolve('it is stuck'), stuckAfterMs)
  try {
    return await Promise.race([run, stuck.promise])
  } catch (error) {
    throw new Error(`the history with seed ${seed} failed`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

function logModel(misfortune: Misfortune, prng: Prng): LogModel {
  const disk = {
    open: () => misfortune.open(),
    crash: () => misfortune.crash(),
    isCrash: (error: unknown) => misfortune.isCrash(error),
  }
  return new LogModel(disk, prng)
}
