import assert from 'node:assert/strict'
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { Namespace } from '../src/engine/namespace.ts'
import { ColdSegment, SegmentUnavailable } from '../src/errors.ts'
import { DiskStorage } from '../src/segment/disk-storage.ts'
import { engineContext, settingsOf } from './engine-fixture.ts'
import { scriptHooks, storingScript, until } from './hook-script.ts'

const timeout = 60_000
const key = Buffer.from('key')
const value = Buffer.from('value')

function open(directory: string, hooks: Hooks, pinned = false): Promise<Namespace> {
  const context = engineContext(new DiskStorage(), prngFromSeed(9), { hooks, clock: systemClock })
  return Namespace.open('ns', join(directory, 'ns'), settingsOf('user'), { pinned }, context)
}

async function withClosedSegment(directory: string, hooks: Hooks, state: 'closed' | 'stored'): Promise<void> {
  await using namespace = await open(directory, hooks)
  namespace.put(key, value)
  namespace.jump()
  await until(() => namespace.segments()[0]!.state === state)
}

test('a closed segment whose file is gone at start is fetched by its name; until then reads say so', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  const data = join(directory.path, 'ns/d0')
  const copy = join(directory.path, 'store/d0')
  await using hooks = await scriptHooks(directory.path, `test "$1" = missing-data && cp "$STORE_DIR/\${3##*/}" "$3"`)
  await withClosedSegment(directory.path, noHooks, 'closed')
  renameSync(data, join(directory.path, 'aside'))
  await using namespace = await open(directory.path, hooks)
  await until(() => /restore failed/.test(namespace.segments()[0]!.note))
  assert.equal(namespace.segments()[0]!.local, false)
  await assert.rejects(async () => namespace.get(key, { cold: 'fail' }), ColdSegment)
  await assert.rejects(async () => namespace.get(key, { cold: 'wait' }), SegmentUnavailable)
  assert.equal(await namespace.check(key), -1)
  renameSync(join(directory.path, 'aside'), copy)
  await until(() => {
    namespace.warm(0).catch(() => undefined)
    return namespace.segments()[0]!.local
  })
  assert.equal(String(await namespace.get(key, { cold: 'wait' })), 'value')
  assert.equal(namespace.segments()[0]!.state, 'closed')
})

test('a stored segment whose file is gone at start is absent, and read again; its lost hint is made again', {
  timeout,
}, async () => {
  await using directory = await temporaryDirectory()
  await using hooks = await scriptHooks(directory.path, storingScript)
  await withClosedSegment(directory.path, hooks, 'stored')
  rmSync(join(directory.path, 'ns/d0'))
  {
    await using namespace = await open(directory.path, hooks)
    assert.equal(namespace.segments()[0]!.state, 'absent')
    assert.equal(String(await namespace.get(key, { cold: 'wait' })), 'value')
    assert.equal(namespace.segments()[0]!.state, 'stored')
  }
  rmSync(join(directory.path, 'ns/d0'))
  rmSync(join(directory.path, 'ns/h0'))
  await using namespace = await open(directory.path, hooks)
  assert.equal(String(await namespace.get(key, { cold: 'wait' })), 'value')
  assert(existsSync(join(directory.path, 'ns/h0')))
})

test('what a crash or a hook left behind is removed at start; bytes that were cut are kept', { timeout }, async () => {
  await using directory = await temporaryDirectory()
  await withClosedSegment(directory.path, noHooks, 'closed')
  const leavings = ['d77', 'h77', '.d0.00112233445566778899aabbccddeeff.part', 'manifest.tmp', 'h0.tmp']
  for (const name of [...leavings, 'cut-d5-100']) writeFileSync(join(directory.path, 'ns', name), 'leavings')
  await using namespace = await open(directory.path, noHooks)
  const names = readdirSync(join(directory.path, 'ns'))
  for (const name of leavings) assert(!names.includes(name), name)
  assert(names.includes('cut-d5-100'))
  assert.equal(String(await namespace.get(key, { cold: 'wait' })), 'value')
})
