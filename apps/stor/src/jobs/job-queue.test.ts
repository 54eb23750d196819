import assert from 'node:assert'
import { readdir, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { StorError } from '../errors.ts'
import { decodeJob, encodeJob, type Job, jobFileName, numberOfJobFile } from './job-format.ts'
import { JobJournal } from './job-journal.ts'
import { JobQueue } from './job-queue.ts'

const JOB = {
  file: '/data/d7',
  name: null,
  attach: null,
  delete: true,
  cause: 'queued',
  queuedMs: 1_893_456_000_000,
  stored: null,
} as const
const wanted = (file: string) => ({ file, name: null, attach: null, delete: false, cause: 'queued' as const })

describe("a job's file", () => {
  test('is what the page says', () => {
    const golden =
      'qsfs stor job 1 44cf50c6\n' +
      '{"file":"/data/d7","name":null,"attach":null,"delete":true,"cause":"queued","queuedMs":1893456000000,"stored":null}\n'
    assert.strictEqual(encodeJob({ number: 17, ...JOB }).toString(), golden)
    assert.deepStrictEqual(decodeJob(17, Buffer.from(golden)), { number: 17, ...JOB })
    assert.strictEqual(jobFileName(17), '0000000000000017.job')
    assert.deepStrictEqual(['0000000000000017.job', '17.job', 'x'].map(numberOfJobFile), [17, null, null])
  })

  test('is nothing when a bit or its end is gone', () => {
    const bytes = encodeJob({ number: 1, ...JOB })
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const hurt = Buffer.from(bytes)
      hurt[bit >> 3]! ^= 1 << (bit & 7)
      assert.strictEqual(decodeJob(1, hurt), null)
    }
    for (let length = 0; length < bytes.length; length++) {
      assert.strictEqual(decodeJob(1, bytes.subarray(0, length)), null)
    }
  })
})

describe('the queue of jobs', () => {
  async function world(t: Parameters<typeof seededPrng>[0], stack: AsyncDisposableStack, limits = {}) {
    const { path } = stack.use(await temporaryDirectory())
    const random = seededPrng(t).bytes
    const clock = new ManualClock()
    const directory = `${path}/jobs`
    const open = async () =>
      stack.use(
        await JobQueue.open(
          new JobJournal(directory),
          { concurrency: 1, jobsMax: 3, ...limits },
          { clock, random, log: silentLog },
        ),
      )
    return { directory, clock, open }
  }

  test('is on the disk before it is answered, and the next process finds it', async t => {
    await using stack = new AsyncDisposableStack()
    const { directory, open } = await world(t, stack)
    const first = await open()
    const numbers = await Promise.all(['/a', '/b', '/a'].map(file => first.add(wanted(file))))
    assert.deepStrictEqual(numbers, [1, 2, 1])
    await writeFile(`${directory}/0000000000000009.job`, 'torn')
    const second = await open()
    assert.strictEqual(second.status.damagedFiles.length, 1)
    assert.deepStrictEqual(
      second.list.jobs.map(({ jobId, file }) => [jobId, file]),
      [
        ['1', '/a'],
        ['2', '/b'],
      ],
    )
    await second.add(wanted('/c'))
    await assert.rejects(second.add(wanted('/d')), { reason: 'full' })
    assert.deepStrictEqual([await second.drop(2), await second.drop(2)], [true, false])
    const done: string[] = []
    const all = Promise.withResolvers<void>()
    second.start(async ({ file }) => {
      done.push(file)
      if (done.length === 2) all.resolve()
    })
    await all.promise
    await second[Symbol.asyncDispose]()
    assert.deepStrictEqual(done, ['/a', '/c'])
    assert.deepStrictEqual(await readdir(directory), ['0000000000000009.job'])
  })

  test('a job that fails holds up no other, and is tried again after growing pauses', async t => {
    await using stack = new AsyncDisposableStack()
    const { clock, open } = await world(t, stack)
    const queue = await open()
    const attempts: string[] = []
    let isMended = false
    let ended = Promise.withResolvers<void>()
    queue.start(async ({ file }: Job) => {
      attempts.push(file)
      setImmediate(() => ended.resolve())
      if (file === '/bad' && !isMended) throw new StorError('unavailable', 'nobody answers')
    })
    const settled = async () => {
      await ended.promise
      while (queue.status.runningCount > 0) await new Promise(resolve => setImmediate(resolve))
      ended = Promise.withResolvers<void>()
    }
    await queue.add(wanted('/bad'))
    await settled()
    await queue.add(wanted('/good'))
    await settled()
    assert.deepStrictEqual(attempts, ['/bad', '/good'])
    assert.deepStrictEqual([queue.status.failingCount, queue.status.lastError], [1, 'nobody answers'])
    await clock.advance(1000)
    await settled()
    assert.strictEqual(attempts.length, 3)
    // The first pause is of 500 to 1,000 ms, the second of 1,000 to 2,000.
    await clock.advance(400)
    assert.strictEqual(attempts.length, 3, 'the second pause is longer')
    isMended = true
    await clock.advance(1700)
    await settled()
    assert.deepStrictEqual([attempts.length, queue.status.waitingCount, queue.status.lastError], [4, 0, ''])
  })
})
