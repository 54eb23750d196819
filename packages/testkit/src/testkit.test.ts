import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManualClock } from './manual-clock.ts'
import { prngFromSeed, seededPrng } from './prng.ts'
import { spawnProcess } from './spawn.ts'
import { temporaryDirectory } from './tmp.ts'

test('a seed repeats its numbers and is printed', () => {
  const seen: string[] = []
  const prng = seededPrng({ diagnostic: message => seen.push(message) }, 42)
  assert.deepEqual(seen, ['seed 42'])
  const again = prngFromSeed(42)
  const draw = (from: typeof prng) => [
    from.below(1000),
    from.pick(['a', 'b', 'c']),
    from.bytes(9).toString('hex'),
    from.chance(0.5),
    from.below(2 ** 40),
  ]
  assert.deepEqual(draw(prng), draw(again))
  assert.notDeepEqual(draw(prng), draw(prngFromSeed(43)))
})

test('numbers spread over their range', () => {
  const prng = prngFromSeed(7)
  const counts = new Array(10).fill(0)
  for (let i = 0; i < 10_000; i++) counts[prng.below(10)]++
  for (const count of counts) assert.ok(count > 850 && count < 1150, `${counts}`)
})

test('a manual clock runs what falls due, in order, with what that schedules', async () => {
  const clock = new ManualClock(1000)
  const seen: [string, number][] = []
  clock.schedule(30, () => seen.push(['late', clock.nowMs()]))
  clock.schedule(10, () => {
    seen.push(['early', clock.nowMs()])
    clock.schedule(5, () => seen.push(['nested', clock.nowMs()]))
  })
  const cancel = clock.schedule(20, () => seen.push(['never', 0]))
  cancel()
  await clock.advance(29)
  assert.deepEqual(seen, [
    ['early', 1010],
    ['nested', 1015],
  ])
  await clock.advance(1)
  assert.deepEqual(seen.at(-1), ['late', 1030])
  assert.equal(clock.monotonicMs(), 30)
})

test('a temporary directory goes with all that is in it', async () => {
  let path = ''
  {
    await using tmp = await temporaryDirectory()
    path = tmp.path
    writeFileSync(join(path, 'x'), 'x')
  }
  assert.equal(existsSync(path), false)
})

test('a child is waited for, stopped, killed', async () => {
  await using child = spawnProcess(
    process.execPath,
    ['-e', `console.log('one\\ntwo ' + process.env.X); setInterval(() => {}, 1000)`],
    { env: { X: 'y' } },
  )
  assert.equal((await child.waitForLine(/^two (.)/))[1], 'y')
  assert.equal(await child.stop(), 'SIGTERM')

  await using deaf = spawnProcess(process.execPath, [
    '-e',
    `process.on('SIGTERM', () => {}); console.error('up'); setInterval(() => {}, 1000)`,
  ])
  await deaf.waitForLine(/up/)
  await deaf.kill9()
  assert.equal(await deaf.exited, 'SIGKILL')

  await using brief = spawnProcess(process.execPath, ['-e', 'process.exit(3)'])
  await assert.rejects(brief.waitForLine(/never/), /ended with 3 before a line matched/)
  await using absent = spawnProcess('/nowhere/program', [])
  assert.match(String(await absent.exited), /ENOENT/)
})
