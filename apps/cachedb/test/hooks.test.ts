import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { EngineContext } from '../src/engine/context.ts'
import { HookFailed, HookWithdrawn } from '../src/engine/hooks/hooks.ts'
import { encodeId } from '../src/engine/keydir/keydir-sequential.ts'
import { Namespace } from '../src/engine/namespace.ts'
import { ColdSegment, SegmentUnavailable } from '../src/errors.ts'
import { DiskStorage } from '../src/segment/disk-storage.ts'
import { engineContext, type FixtureOptions, settingsOf } from './engine-fixture.ts'
import { scriptHooks, storingScript, until } from './hook-script.ts'

const closed = { dataPath: '/x/d0', nextDataPath: '/x/d1', hintPath: '/x/h0' }
const indexClosed = { hintPath: '/x/h0', nextHintPath: '/x/h1', dirtyIds: [0, 7, 12] }
const timeout = 60_000

function diskContext(options: FixtureOptions): EngineContext {
  return engineContext(new DiskStorage(), prngFromSeed(7), {
    clock: systemClock,
    segmentBytesMax: 64 * 1024,
    ...options,
  })
}

function open(directory: string, context: EngineContext): Promise<Namespace> {
  return Namespace.open('data', join(directory, 'data'), settingsOf('sequential'), { pinned: false }, context)
}

test('argv and environment of a store hook; only its line counts', { timeout }, async () => {
  await using directory = await temporaryDirectory()
  const script =
    'echo "$@" "$(printenv QSFS_HINT_PATH)" "$QSFS_STOR_SOCKET" >> "$STORE_DIR/log"; echo noise; echo "stored 00112233445566778899aabbccddeeff"'
  await using hooks = await scriptHooks(directory.path, script, { storSocket: '/run/stor.sock' })
  assert.equal(await hooks.indexClosed(indexClosed), true)
  assert.equal(await hooks.segmentClosed(closed), '00112233445566778899aabbccddeeff')
  const lines = readFileSync(join(directory.path, 'store/log'), 'utf8').trim().split('\n')
  assert.match(lines[0]!, /^jump-index unix:\/\/\/test \/x\/h0 \/x\/h1 0 7 12 /)
  assert.match(lines[1]!, /^jump-data unix:\/\/\/test \/x\/d0 \/x\/d1 \/x\/h0 \/run\/stor.sock$/)
  assert.deepEqual(
    hooks.runs().map(({ event, exitCode }) => [event, exitCode]),
    [
      ['jump-index', 0],
      ['jump-data', 0],
    ],
  )
})

test('a hook that is silent, lies by its exit code, fails, hangs, is killed or cannot be run stores nothing', {
  timeout,
}, async () => {
  const scripts: readonly (readonly [string, RegExp | null])[] = [
    ['exit 0', null],
    ['echo stored soon; exit 0', null],
    ['(sleep 0.3; echo "stored 00112233445566778899aabbccddeeff") & exit 0', null],
    ['echo "stored 00112233445566778899aabbccddeeff"; echo "no room" >&2; exit 3', /exited with 3: no room/],
    ['echo "stored 00112233445566778899aabbccddeeff"; kill -9 $$', /killed by SIGKILL/],
    ['echo "stored 00112233445566778899aabbccddeeff"; sleep 60', /did not end within/],
  ]
  for (const [script, failure] of scripts) {
    await using directory = await temporaryDirectory()
    await using hooks = await scriptHooks(directory.path, script, { timeoutMs: 700 })
    if (failure === null) assert.equal(await hooks.segmentClosed(closed), null, script)
    else await assert.rejects(hooks.segmentClosed(closed), failure, script)
  }
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, 'exit 0')
  chmodSync(join(directory.path, 'hook.sh'), 0o644)
  await assert.rejects(hooks.segmentClosed(closed), HookFailed)
  assert.equal(await hooks.event('ready', []), null)
})

test('a dead hook-runner fails what it ran and is started again', { timeout }, async () => {
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, 'test "$1" = close && kill -9 $PPID; exit 0')
  assert.equal(await hooks.event('close', []), null)
  assert.equal(await hooks.event('ready', []), 0)
})

test('a hook-runner that cannot be started again is a failed hook, tried later; many who miss it start one', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  let restarts = 0
  const log = { ...silentLog, error: (name: string) => void (name === 'hook_runner.restarted' && restarts++) }
  await using hooks = await scriptHooks(directory.path, 'test "$1" = close && kill -9 $PPID; exit 0', { log })
  const node = process.execPath
  assert.equal(await hooks.event('close', []), null)
  process.execPath = '/nowhere/node'
  try {
    await assert.rejects(hooks.segmentDeleted({ dataPath: '/x/d0', objectId: 'x' }), HookFailed)
    assert.equal(await hooks.event('ready', []), null)
  } finally {
    process.execPath = node
  }
  restarts = 0
  assert.deepEqual(await Promise.all(Array.from({ length: 4 }, () => hooks.event('ready', []))), [0, 0, 0, 0])
  assert.equal(restarts, 1)
})

test('who waits for others of its pool is not run when nobody wants it any more, and has not failed', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, 'sleep 0.3', { storeMax: 1, retrieveMax: 1 })
  const leaving = new AbortController()
  const running = hooks.segmentMissing({ dataPath: '/x/d0', hintPath: '/x/h0', objectId: null }, leaving.signal)
  const missing = hooks.segmentMissing({ dataPath: '/x/d1', hintPath: '/x/h1', objectId: null }, leaving.signal)
  const stores = [hooks.segmentClosed(closed), hooks.segmentClosed(closed, leaving.signal)]
  const deleted = hooks.segmentDeleted({ dataPath: '/x/d1', objectId: 'x' }, leaving.signal)
  leaving.abort()
  for (const waiting of [missing, stores[1]!, deleted]) await assert.rejects(waiting, HookWithdrawn)
  await Promise.all([running, stores[0]])
  // What it held while it waited for the second pool is free again.
  await hooks.segmentDeleted({ dataPath: '/x/d2', objectId: 'x' })
  const { succeeded, failed, waiting } = hooks.state()
  assert.deepEqual({ succeeded, failed, waiting }, { succeeded: 3, failed: 0, waiting: 0 })
})

test('HOOKS shows a run until 300 s after its end, and one that goes on for as long as it does', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  let laterMs = 0
  const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + laterMs }
  const gate = join(directory.path, 'go')
  await using hooks = await scriptHooks(
    directory.path,
    `test "$1" != jump-data || while ! test -e '${gate}'; do sleep 0.02; done`,
    { clock },
  )
  assert.equal(await hooks.event('ready', []), 0)
  const running = hooks.segmentClosed(closed)
  await until(() => hooks.runs().some(({ event, pid }) => event === 'jump-data' && pid > 0))
  laterMs = 298_000
  assert.deepEqual(
    hooks.runs().map(({ event }) => event),
    ['ready', 'jump-data'],
  )
  laterMs = 303_000
  const [run, ...others] = hooks.runs()
  assert.deepEqual([run?.event, run?.endSeconds, run?.exitCode, others.length], ['jump-data', 0, 0, 0])
  writeFileSync(gate, '')
  await running
})

test('however many events come at once, few of their hooks run', { timeout }, async () => {
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, 'sleep 0.1')
  const events = Promise.all(Array.from({ length: 20 }, () => hooks.event('namespace-updated', ['ns'])))
  let ended = false
  void events.finally(() => {
    ended = true
  })
  await until(() => {
    assert(hooks.runs().filter(({ endSeconds }) => endSeconds === 0).length <= 4)
    return ended
  })
  assert.deepEqual(new Set(await events), new Set([0]))
})

test('closed segments are stored, evicted under the limit, restored for readers, buried when dead', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, storingScript)
  const limitBytes = 8 * 64 * 1024
  const context = diskContext({ hooks, limitBytes })
  const prng = prngFromSeed(3)
  await using namespace = await open(directory.path, context)
  const values: Buffer[] = []
  while (values.length < 120) {
    const value = prng.bytes(10_000)
    try {
      const key = namespace.put(Buffer.alloc(0), value)
      assert.equal(key?.readUInt32LE(0), values.length)
      values.push(value)
    } catch (error) {
      // Twice the limit is written: the writer waits for stores, as fs's flusher does.
      assert.match((error as Error).message, /^FULL /)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    assert(context.room.usedBytes <= limitBytes)
  }
  await until(() => namespace.segments().every(({ state }) => state !== 'closed'))
  await until(() => context.room.excessBytes === 0)
  const absent = namespace.segments().filter(({ state }) => state === 'absent')
  assert(absent.length > 5)
  for (const { id, local } of namespace.segments()) assert.equal(existsSync(join(directory.path, `data/d${id}`)), local)

  // The one that was stored first has left, whichever that is: six values lie in each.
  const { id: coldId } = absent[0]!
  const coldValue = values[coldId * 6]!
  const cold = encodeId(coldId * 6)
  await assert.rejects(async () => namespace.get(cold, { cold: 'fail' }), new ColdSegment(coldId))
  const [a, b] = await Promise.all([namespace.get(cold, { cold: 'wait' }), namespace.get(cold, { cold: 'wait' })])
  assert(a?.equals(coldValue) && b?.equals(coldValue))
  const log = () => readFileSync(join(directory.path, 'store/log'), 'utf8')
  assert.equal(log().match(new RegExp(`missing-data d${coldId}\\b`, 'g'))?.length, 1, 'readers share one restore')
  for (let id = 0; id < values.length; id++) {
    const key = encodeId(id)
    // Restored segments are pinned for a while, so that reading on may have to wait for room.
    if (id % 20 === 0) assert((await namespace.get(key, { cold: 'wait' }))?.equals(values[id]!), `value ${id}`)
  }
  for (let id = 0; id < values.length; id++) {
    // What was just restored may lie in the room for deletes, until it may leave.
    await until(() => isDeleted(namespace, encodeId(id)))
  }
  namespace.jump()
  await until(() => readdirSync(join(directory.path, 'store')).filter(name => name !== 'log').length <= 2)
})

test('a store that fails is tried again and said; a segment whose restore brings the wrong file is not read', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  const marker = join(directory.path, 'works')
  await using hooks = await scriptHooks(
    directory.path,
    `test -e '${marker}' || { echo 'no backend' >&2; exit 1; }\n${storingScript}`,
  )
  await using namespace = await open(directory.path, diskContext({ hooks }))
  const key = namespace.put(Buffer.alloc(0), Buffer.from('kept'))!
  namespace.jump()
  const first = () => namespace.segments()[0]!
  await until(() => /store failed 1 times: .*no backend/.test(first().note))
  assert.equal(first().state, 'closed')
  writeFileSync(marker, '')
  await until(() => first().state === 'stored')

  // Damage the local file and the stored object: the read notices the first, the restore refuses the second.
  const dataPath = join(directory.path, 'data/d0')
  const object = join(directory.path, 'store', first().objectId!)
  const good = readFileSync(dataPath)
  const bad = Buffer.from(good)
  bad[40]! ^= 1
  writeFileSync(dataPath, bad)
  writeFileSync(object, good.subarray(0, good.length - 1))
  await assert.rejects(async () => namespace.get(key, { cold: 'wait' }), SegmentUnavailable)
  assert.equal(first().state, 'absent')
  assert(!existsSync(dataPath))
  // Within the pause nobody waits for a hook.
  await assert.rejects(async () => namespace.get(key, { cold: 'wait' }), /restore failed 1 times/)
  writeFileSync(object, good)
  await until(() => {
    void Promise.resolve(namespace.get(key, { cold: 'wait' })).catch(() => undefined)
    return first().state === 'stored'
  })
  assert.equal(String(await namespace.get(key, { cold: 'wait' })), 'kept')
})

test('what was owed when the process died is owed again: stores, and deletions of dropped namespaces', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  {
    await using namespace = await open(directory.path, diskContext({}))
    namespace.put(Buffer.alloc(0), Buffer.from('owed'))
    namespace.jump()
    await until(() => namespace.segments()[0]!.state === 'closed')
  }
  await using hooks = await scriptHooks(directory.path, storingScript)
  const namespace = await open(directory.path, diskContext({ hooks }))
  await until(() => namespace.segments()[0]!.state === 'stored')
  const objects = () => readdirSync(join(directory.path, 'store')).filter(name => name !== 'log')
  assert.equal(objects().length, 2)
  await namespace.drop()
  assert(!existsSync(join(directory.path, 'data')))
  await until(() => objects().length === 0)
  await until(() => readdirSync(join(directory.path, '.dropped')).length === 0)
})

function isDeleted(namespace: Namespace, key: Buffer): boolean {
  try {
    namespace.delete(key)
    return true
  } catch (error) {
    assert.match((error as Error).message, /^FULL wait/)
    return false
  }
}
