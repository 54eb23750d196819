import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { runWorld } from './model/world.ts'

/** About a thousand commands each. */
const worlds = 16

test(`${worlds} worlds of random commands, crashes, full disks and stores that fail answer as plain Maps do`, async t => {
  const prng = seededPrng(t)
  let commands = 0
  let lives = 0
  for (let count = 0; count < worlds; count++) {
    const report = await runWorld(prng.below(2 ** 32))
    commands += report.commands
    lives += report.lives
  }
  t.diagnostic(`${commands} commands in ${lives} lives`)
  assert(commands > 5_000)
})

test('a world is the same each time', async t => {
  const world = seededPrng(t).below(2 ** 32)
  assert.deepEqual(await runWorld(world), await runWorld(world))
})
