import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { sayingWhile } from './waiting.ts'

test('what takes long is told, again and again, until it is there', async t => {
  const said: string[] = []
  t.mock.method(process.stderr, 'write', (text: string) => said.push(text))
  const clock = new ManualClock()
  const { promise, resolve } = Promise.withResolvers<string>()
  let what = 'stor'
  const waiting = sayingWhile(clock, () => what, promise)
  await clock.advance(2000)
  assert.deepEqual(said, [])
  await clock.advance(2000)
  what = 'cachedb'
  await clock.advance(10_000)
  resolve('ready')
  assert.equal(await waiting, 'ready')
  await clock.advance(60_000)
  t.mock.restoreAll()
  assert.deepEqual(said, ['qsfs: since 3 s waiting for stor\n', 'qsfs: since 13 s waiting for cachedb\n'])
})
