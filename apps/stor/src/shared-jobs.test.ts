import assert from 'node:assert'
import { describe, test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type JobContext, SharedJobs } from './shared-jobs.ts'

describe('shared jobs', () => {
  test('whoever asks for what is under way joins it, and hears its progress', async () => {
    const jobs = new SharedJobs<string>(new ManualClock(), { graceMs: 100 })
    const done = Promise.withResolvers<void>()
    let started = 0
    const start = async ({ progress }: JobContext) => {
      started++
      await done.promise
      progress(1, 2)
      return 'result'
    }
    const heard: number[] = []
    const onProgress = ({ doneBytes }: { doneBytes: number }) => heard.push(doneBytes)
    const both = Promise.all([jobs.run('d7', start, { onProgress }), jobs.run('d7', start, { onProgress })])
    const other = jobs.run('d8', async () => 'another')
    assert.strictEqual(await other, 'another')
    done.resolve()
    assert.deepStrictEqual(await both, ['result', 'result'])
    assert.strictEqual(started, 1)
    assert.deepStrictEqual(heard, [1, 1])
    assert.strictEqual(jobs.size, 0)
    await jobs.run('d7', start)
    assert.strictEqual(started, 2)
  })

  test('a failure is everybody’s, and not kept', async () => {
    const jobs = new SharedJobs<string>(new ManualClock(), { graceMs: 100 })
    const failing = () => Promise.reject(new Error('no'))
    const outcomes = await Promise.allSettled([jobs.run('d7', failing), jobs.run('d7', failing)])
    assert.ok(outcomes.every(({ status }) => status === 'rejected'))
    assert.strictEqual(await jobs.run('d7', async () => 'yes'), 'yes')
  })

  test('an asker that leaves ends nothing; a job that nobody wants for the grace ends', async () => {
    const clock = new ManualClock()
    const jobs = new SharedJobs<string>(clock, { graceMs: 100 })
    let signal: AbortSignal | undefined
    const start = (context: JobContext) => {
      signal = context.signal
      return new Promise<string>((resolve, reject) => {
        context.signal.addEventListener('abort', () => reject(context.signal.reason))
        clock.schedule(1000, () => resolve('late'))
      })
    }
    const first = new AbortController()
    const waiting = jobs.run('d7', start, { signal: first.signal })
    await clock.advance(0)
    first.abort(new Error('killed'))
    await assert.rejects(waiting, { message: 'killed' })
    await clock.advance(50)
    // It comes back within the grace and finds its job.
    const second = new AbortController()
    const again = jobs.run('d7', start, { signal: second.signal })
    await clock.advance(500)
    await clock.advance(0)
    assert.strictEqual(signal?.aborted, false)
    second.abort(new Error('killed again'))
    await assert.rejects(again)
    await clock.advance(100)
    assert.strictEqual(signal?.aborted, true)
    assert.strictEqual(jobs.size, 0)
  })

  test('stopping ends all', async () => {
    const jobs = new SharedJobs<string>(new ManualClock(), { graceMs: 100 })
    const running = jobs.run('d7', ({ signal }) => {
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    })
    const failed = assert.rejects(running, { message: 'stopping' })
    await new Promise(resolve => setImmediate(resolve))
    await jobs.stop(new Error('stopping'))
    await failed
  })
})
