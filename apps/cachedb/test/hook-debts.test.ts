import assert from 'node:assert/strict'
import { existsSync, readFileSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { CachedbProcess } from './cachedb-process.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { until, writeHook } from './hook-script.ts'
import { SimulatedStorage } from './simulated-storage.ts'

const hourMs = 3_600_000

/** A store hook that answers as it is told, and remembers what it was told. */
function toldHooks(answer: { index: boolean; data: 'silent' | 'fails' | 'stores' }) {
  const told: string[] = []
  const hooks: Hooks = {
    ...noHooks,
    configured: true,
    indexClosed: async ({ hintPath, dirtyIds }) => {
      told.push(`index ${hintPath.split('/').at(-1)} [${dirtyIds}]`)
      return answer.index
    },
    segmentClosed: async ({ dataPath }) => {
      told.push(`data ${dataPath.split('/').at(-1)}`)
      if (answer.data === 'fails') throw new HookFailed('no backend')
      return answer.data === 'stores' ? '0'.repeat(32) : null
    },
  }
  /** What it was told since it was asked last, once that is so much. */
  const heard = async (count: number) => {
    await until(() => told.length >= count)
    return told.splice(0)
  }
  return { hooks, heard }
}

async function opened(hooks: Hooks) {
  const clock = new ManualClock()
  const context = engineContext(new SimulatedStorage(), prngFromSeed(1), { clock, hooks })
  return { clock, namespace: await openNamespace(context, 'user') }
}

const key = (name: string) => Buffer.from(name)

test('a hook that heard and stored nothing is asked again after an hour, then later and later', async () => {
  const answer = { index: true, data: 'silent' as 'silent' | 'stores' }
  const { hooks, heard } = toldHooks(answer)
  const { clock, namespace } = await opened(hooks)
  await using _closing = namespace
  namespace.put(key('a'), key('1'))
  namespace.jump()
  assert.deepEqual(await heard(2), ['index h0 []', 'data d0'])
  await until(() => namespace.segments()[0]!.note !== 'storing')
  assert.match(namespace.segments()[0]!.note, /^heard, not stored/)
  await clock.advance(hourMs - 2_000)
  assert.deepEqual(await heard(0), [])
  await clock.advance(2_000)
  assert.deepEqual(await heard(1), ['data d0'])
  await clock.advance(hourMs * 1.9)
  assert.deepEqual(await heard(0), [])
  answer.data = 'stores'
  await clock.advance(hourMs / 5)
  assert.deepEqual(await heard(1), ['data d0'])
  await until(() => namespace.segments()[0]!.state === 'stored')
})

test('jump-index is told again until it was heard, and what is dirty is told until then', async () => {
  const answer = { index: false, data: 'fails' as 'fails' | 'stores' }
  const { hooks, heard } = toldHooks(answer)
  const { clock, namespace } = await opened(hooks)
  await using _closing = namespace
  namespace.put(key('a'), key('1'))
  namespace.put(key('b'), key('1'))
  namespace.put(key('a'), key('2'))
  assert.deepEqual(namespace.dirty.ids(), [0])
  namespace.jump()
  assert.deepEqual(await heard(2), ['index h0 [0]', 'data d0'])
  await until(() => /store failed 1 times/.test(namespace.segments()[0]!.note))
  assert.deepEqual(namespace.dirty.ids(), [0])
  answer.index = true
  await clock.advance(1_000)
  assert.deepEqual(await heard(2), ['index h0 [0]', 'data d0'])
  await until(() => /store failed 2 times/.test(namespace.segments()[0]!.note))
  assert.deepEqual(namespace.dirty.ids(), [])
  answer.data = 'stores'
  await clock.advance(2_000)
  assert.deepEqual(await heard(1), ['data d0'])
})

/** After the scripts of quantum-storage: the namespace is the folder of the paths, the dirty list is split on spaces, uploads go to
 *  the background, and nothing is printed that cachedb knows. */
const zdbScript = `
here=$(dirname "$0"); store="$here/store"; mkdir -p "$store"
case "$1" in
jump-index)
  namespace=$(basename "$(dirname "$3")"); directory=$(dirname "$3")
  for dirty in $5; do test -e "$directory/d$dirty" && echo "$namespace $dirty" >> "$here/dirty"; done
  cp "$3" "$store/$namespace-$(basename "$3")" ;;
jump-data)
  namespace=$(basename "$(dirname "$3")")
  (sleep 0.1; echo uploading; cp "$3" "$store/.part" && mv "$store/.part" "$store/$namespace-$(basename "$3")") & ;;
missing-data)
  namespace=$(basename "$(dirname "$3")")
  cp "$store/$namespace-$(basename "$3")" "$3" ;;
esac
exit 0`

test('a plain 0-db script stores and gives back what somebody took from the disk', { timeout: 60_000 }, async t => {
  const cachedb = await CachedbProcess.prepare(t, { hook: '{dir}/hook.sh', value_cache_bytes: 0 })
  writeHook(join(cachedb.directory, 'hook.sh'), zdbScript, 0o755)
  await cachedb.start()
  const client = await cachedb.raw()
  await client.ask('NSNEW', 'photos')
  await client.ask('SELECT', 'photos')
  await client.ask('SET', 'kept', 'value')
  await client.ask('SET', 'changed', '1')
  await client.ask('SET', 'changed', '2')
  await client.ask('NSJUMP')
  const path = (name: string) => join(cachedb.directory, name)
  await until(() => existsSync(path('store/photos-d0')))
  assert.equal(readFileSync(path('dirty'), 'utf8'), 'photos 0\n')
  assert(existsSync(path('store/photos-h0')))

  unlinkSync(path('data/photos/d0'))
  assert.equal(await client.ask('CHECK', 'kept'), ':1')
  unlinkSync(path('data/photos/d0'))
  assert.equal(await client.ask('DATA', 'RAW', '0', '999999'), '-EOF')
  assert.match(await client.ask('DATA', 'RAW', '0', '28'), /^\[\$kept /)
  await cachedb.process.stop()
  unlinkSync(path('data/photos/d0'))
  await cachedb.start()
  const again = await cachedb.raw()
  await again.ask('SELECT', 'photos')
  assert.equal(await again.ask('GET', 'kept'), '$value')
  assert(existsSync(path('data/photos/d0')))
})
