import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { StorError } from '../errors.ts'
import { Cutoff } from './cutoff.ts'
import { DecoratedBackend } from './decorated-backend.ts'
import { MemoryBackend } from './memory-backend.ts'
import { Retrier } from './retry.ts'
import { Vitals } from './vitals.ts'

/** Answers nothing until it is let go. */
class HangingBackend extends MemoryBackend {
  readonly released = Promise.withResolvers<void>()
  putCount = 0

  override async put(bytes: Uint8Array): Promise<number> {
    this.putCount++
    await this.released.promise
    return super.put(bytes)
  }

  override async remove(): Promise<void> {
    await this.released.promise
  }
}

test('who waits for a backend that hangs waits no longer when it is called down, and asks it nothing again', async () => {
  const clock = new ManualClock()
  const vitals = new Vitals(clock)
  const hanging = new HangingBackend('b')
  const cutoff = new Cutoff('b', clock, vitals, { answerWithinMs: 1000 })
  const backend = new DecoratedBackend(hanging, [cutoff, new Retrier(clock, randomBytes, vitals, { attemptsMax: 3 })])
  const put = assert.rejects(backend.put(Buffer.from('x')), { reason: 'unavailable', message: /b is down/ })
  const get = assert.rejects(backend.get(7), { reason: 'missing' })
  await get
  vitals.called('down')
  await put
  assert.ok((await backend.stat()).valueCount === 0)

  // One that is down may still be asked, but not for ever.
  const removed = assert.rejects(backend.remove([1]), { reason: 'unavailable' })
  await clock.advance(1000)
  await removed
  hanging.released.reject(new StorError('unavailable', 'its connection was lost'))
  await clock.advance(10_000)
  assert.strictEqual(hanging.putCount, 1)
})
