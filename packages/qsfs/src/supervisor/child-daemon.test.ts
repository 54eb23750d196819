import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { type TemporaryDirectory, temporaryDirectory } from '@qsfs/testkit/tmp'
import { backgroundNice } from './background.ts'
import { ChildDaemon } from './child-daemon.ts'
import { isRunning, readInstance, startTicksOf, waitUntilGone, writeInstance } from './running-processes.ts'

/** A child with this body; it is ready when it has made the file `ready`. */
function child(tmp: TemporaryDirectory, body: string, { background = false, log = silentLog } = {}) {
  const script = join(tmp.path, `${randomBytes(4).toString('hex')}.cjs`)
  const ready = `${script}.ready`
  writeFileSync(script, `const ready = () => require('fs').appendFileSync(${JSON.stringify(ready)}, 'x')\n${body}`)
  const spec = {
    name: 'backend-1',
    app: 'cachedb',
    argv: [script],
    logPath: join(tmp.path, 'logs', 'backend-1.log'),
    environment: process.env,
    background,
    isReady: async () => existsSync(ready),
    rephrase: (sentence: string) => sentence.replace('config.toml:5', 'mine.toml:9'),
  }
  const daemon = new ChildDaemon(spec, systemClock, randomBytes, log, () => undefined)
  const readyAgain = async () => {
    while (statSync(ready).size < 2) await new Promise(resolve => setTimeout(resolve, 20))
  }
  return { daemon, readyAgain, [Symbol.asyncDispose]: async () => void (await daemon.stop(2000)) }
}

const forever = 'setInterval(() => {}, 1000)'
const alive = () => setInterval(() => undefined, 1000)

test('a child is ready, stopped, and leaves when its stdin closes', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  await using good = child(tmp, `process.on('SIGTERM', () => process.exit(0)); ready(); ${forever}`)
  await good.daemon.start(new AbortController().signal)
  assert.ok(good.daemon.pid !== null && startTicksOf(good.daemon.pid) !== null)
  assert.equal(good.daemon.death, null)
  assert.equal(await good.daemon.stop(5000), true)
  assert.equal(good.daemon.pid, null)
})

test('one that works in the background stands behind the others', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  const body = `ready(); ${forever}`
  await using quick = child(tmp, body)
  await using behind = child(tmp, body, { background: true })
  for (const { daemon } of [quick, behind]) await daemon.start(new AbortController().signal)
  const nice = getPriority(quick.daemon.pid!)
  assert.equal(getPriority(behind.daemon.pid!), Math.max(nice, backgroundNice))
})

test('one that ends before it is ready says why, in its words, with the exit code', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  const start = (body: string) => child(tmp, body).daemon.start(new AbortController().signal)
  await assert.rejects(
    start(`console.error('{"json":1}\\ncachedb: config.toml:5: no such key\\nat x'); process.exit(2)`),
    {
      exitCode: 2,
      message: 'backend-1: mine.toml:9: no such key',
    },
  )
  // The words of the one before are not its own.
  await assert.rejects(start('process.exit(3)'), {
    exitCode: 1,
    message: /^backend-1 ended with exit code 3; .*backend-1.log may say why$/,
  })
  await assert.rejects(start(`process.kill(process.pid, 'SIGKILL')`), { exitCode: 1, message: /was ended by SIGKILL/ })
})

test('one that dies is started again, and one that ignores SIGTERM is killed', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  await using deaf = child(tmp, `process.on('SIGTERM', () => {}); ready(); ${forever}`)
  await deaf.daemon.start(new AbortController().signal)
  deaf.daemon.keepRunning()
  const firstPid = deaf.daemon.pid!
  process.kill(firstPid, 'SIGKILL')
  await deaf.readyAgain()
  assert.notEqual(deaf.daemon.pid, firstPid)
  assert.equal(deaf.daemon.restartCount, 1)
  assert.equal(await deaf.daemon.stop(100), false)
})

test('one that leaves its work to the next is exchanged: no death, and no pause', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  const events: string[] = []
  const note = (name: string) => void events.push(name)
  const log = { ...silentLog, event: note, warn: note, child: () => log }
  const body = `process.on('SIGUSR2', () => process.exit(3)); console.error('{"event":"x.made","count":1,"pid":7}'); ready(); ${forever}`
  await using leaving = child(tmp, body, { log })
  await leaving.daemon.start(new AbortController().signal)
  assert.equal(leaving.daemon.lastEvent(), 'x.made {"count":1}')
  leaving.daemon.keepRunning()
  const firstPid = leaving.daemon.pid!
  process.kill(firstPid, 'SIGUSR2')
  await leaving.readyAgain()
  assert.notEqual(leaving.daemon.pid, firstPid)
  assert.equal(leaving.daemon.restartCount, 0)
  assert.deepEqual(events, ['daemon.exchanged'])
})

test('told to stop while it starts, the start ends with the reason', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  await using slow = child(tmp, forever)
  const stopping = new AbortController()
  const started = slow.daemon.start(stopping.signal)
  stopping.abort(new Error('stopped'))
  await assert.rejects(started, { message: 'stopped' })
})

test('a process is known by pid and start, and waited for', async t => {
  const keep = alive()
  t.after(() => clearInterval(keep))
  await using tmp = await temporaryDirectory()
  await using one = child(tmp, `ready(); process.stdin.on('end', () => process.exit()).resume()`)
  await one.daemon.start(new AbortController().signal)
  const noted = { name: 'backend-1', pid: one.daemon.pid!, restarts: 0, startTicks: startTicksOf(one.daemon.pid!) }
  assert.equal(isRunning(noted), true)
  assert.equal(isRunning({ ...noted, startTicks: 1 }), false)
  const options = { withinMs: 50, signal: new AbortController().signal }
  await assert.rejects(waitUntilGone([noted], systemClock, options), {
    exitCode: 1,
    message: /backend-1 \(pid \d+\) still run/,
  })
  await one.daemon.stop(5000)
  await waitUntilGone([noted], systemClock, options)

  const path = join(tmp.path, 'processes.json')
  assert.equal(readInstance(path), null)
  const instance = {
    command: 'up' as const,
    isStopping: false,
    state: '/s',
    mount: '/m',
    transport: 'kernel',
    supervisorPid: 1,
    supervisorStartTicks: 2,
    cachedb: { address: 'unix:/x', dataDirectory: '/d', cacheBytesMax: 5 },
    storSocket: '/x',
    fsSocket: '/y',
    masterKeyPath: null,
    processes: [noted],
  }
  writeInstance(path, instance)
  assert.deepEqual(readInstance(path), instance)
})
