import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { runFsxWorld } from './soak/fsx-world.ts'
import { runMountedWorld } from './soak/mounted-world.ts'
import { runSimulatedWorld } from './soak/simulated-world.ts'

// Some worlds of `pnpm soak fs`, which goes on for ever.

test('random operations and crashes on a simulated disk: a prefix survives, and fsck finds nothing', async t => {
  await using directory = await temporaryDirectory()
  const prng = seededPrng(t)
  for (let world = 0; world < 5; world++) {
    const seed = prng.below(2 ** 32)
    t.diagnostic(`pnpm soak fs --only simulated --world ${seed}`)
    await runSimulatedWorld(seed, directory.path, { lives: 6, steps: 120 })
  }
})

test('random operations on a mount, kill -9 of fs, cachedb or both: the same', async t => {
  await using directory = await temporaryDirectory()
  const { seed } = seededPrng(t)
  await runMountedWorld(seed, directory.path, { lives: 3, lifeMs: 600 })
})

test('random operations on one file through the mount agree with an array of bytes', async t => {
  await using directory = await temporaryDirectory()
  const { seed } = seededPrng(t)
  await runFsxWorld(seed, directory.path, { seconds: 1.5 })
})
