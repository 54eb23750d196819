import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Wakefulness } from '@qsfs/concurrency/wakefulness'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { KernelChannel, type OpenReader } from './channel.ts'
import { probePipeHandle } from './pipe-handle.ts'
import { openPoolReader } from './pool-reader.ts'

/** A channel on /dev/null whose requests the test makes; the clock stands until it is moved. */
function channelOf({ pollUs = 0 } = {}) {
  const clock = new ManualClock()
  let deliver: (lengthBytes: number) => void = () => undefined
  let end: Parameters<OpenReader>[3] = () => undefined
  const openReader: OpenReader = (_fd, buffer, onBytes, onEnd) => {
    deliver = lengthBytes => {
      buffer.fill(7, 0, lengthBytes)
      onBytes(lengthBytes)
    }
    end = onEnd
    return { close: () => onEnd(null), pause: () => undefined }
  }
  const channel = new KernelChannel(openSync('/dev/null', 'w'), openReader, new Wakefulness(clock, { pollUs }))
  const lengths: number[] = []
  const ended = channel.receive(request => lengths.push(request.length))
  return {
    channel,
    clock,
    lengths,
    ended,
    deliver: (n: number) => deliver(n),
    end: (code: string) => end(failure(code)),
  }
}

function failure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}

test('wakeful after a request, and after a reply that came late', async () => {
  const { channel, clock, lengths, deliver } = channelOf({ pollUs: 100 })
  const isAwake = async () => {
    await new Promise<void>(resolve => setImmediate(resolve))
    return process.getActiveResourcesInfo().includes('Immediate')
  }
  deliver(50)
  assert.deepEqual(lengths, [50])
  assert.equal(await isAwake(), true)
  await clock.advance(0.11)
  await isAwake()
  assert.equal(await isAwake(), false)
  channel.reply(Buffer.alloc(16), [])
  assert.equal(await isAwake(), true)
  await clock.advance(0.11)
  channel[Symbol.dispose]()
})

test('unmounted and aborted are ends, anything else is a failure', async () => {
  for (const code of ['ENODEV', 'ECONNABORTED', 'ENOENT']) {
    const { ended, end } = channelOf()
    end(code)
    await ended
  }
  const { ended, end } = channelOf()
  end('EBADF')
  await assert.rejects(ended, { code: 'EBADF' })
})

test('a reply is one write of all its parts, however many they are', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'replies')
  const channel = new KernelChannel(
    openSync(path, 'w'),
    openPoolReader,
    new Wakefulness(new ManualClock(), { pollUs: 0 }),
  )
  channel.reply(Buffer.from('head'), [])
  channel.reply(Buffer.from('<'), Array(3000).fill(Buffer.from('part')))
  assert.equal(readFileSync(path, 'latin1'), `head<${'part'.repeat(3000)}`)
  channel[Symbol.dispose]()
})

const readers = { epoll: probePipeHandle(), 'pool reads': openPoolReader }

for (const [name, openReader] of Object.entries(readers)) {
  test(`${name}: hands over what can be read, in the buffer it was given`, async () => {
    assert(openReader, 'this Node has no Pipe handle as we know it')
    await using directory = await temporaryDirectory()
    const path = join(directory.path, 'fifo')
    execFileSync('mkfifo', [path])
    const fd = openSync(path, 'r+')
    const buffer = Buffer.alloc(64)
    const got: string[] = []
    const ended = Promise.withResolvers<void>()
    const reader = openReader(
      fd,
      buffer,
      lengthBytes => {
        got.push(buffer.toString('latin1', 0, lengthBytes))
        if (got.length < 3) writeSync(fd, `request ${got.length}`)
        else reader.close()
      },
      () => ended.resolve(),
    )
    writeSync(fd, 'request 0')
    await ended.promise
    assert.deepEqual(got, ['request 0', 'request 1', 'request 2'])
    // The pool's read is parked until something comes.
    if (name !== 'epoll') {
      writeSync(fd, '.')
      await new Promise(resolve => setTimeout(resolve, 20))
      closeSync(fd)
    } else assert.throws(() => readSync(fd, buffer), { code: 'EBADF' })
  })
}

test('what comes after it left is for another process', () => {
  const { channel, deliver, lengths } = channelOf()
  deliver(40)
  channel.leave()
  deliver(50)
  assert.deepEqual(lengths, [40])
  channel[Symbol.dispose]()
})
