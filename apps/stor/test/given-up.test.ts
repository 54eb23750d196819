import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import test from 'node:test'
import { objectKey } from '../src/metadata/name-record.ts'
import { decodeRecord, type ObjectRecord } from '../src/metadata/object-record.ts'
import type { Runtime } from '../src/runtime.ts'
import { directoryStore, openRuntime, until } from './store-fixture.ts'

async function recordOf(runtime: Runtime, objectId: string): Promise<ObjectRecord> {
  const { meta } = await runtime.store()
  return decodeRecord((await meta.get(objectKey(Buffer.from(objectId, 'hex'))))!.bytes)
}

async function pieceCount(directory: string): Promise<number> {
  const names = await readdir(`${directory}/pieces`, { recursive: true }).catch(() => [])
  return names.filter(name => /^\d+\/\d+$/.test(name)).length
}

test('shards of a backend that stays down are rebuilt elsewhere, and what it brings back is removed', async () => {
  await using stack = new AsyncDisposableStack()
  const settings = { frame_bytes: '64KiB', rebuild_after: '1s', create_namespaces: false }
  const { path, config } = await directoryStore(stack, settings)
  const more = [7, 8].map(i => `[[stor.groups.backends]]\nname = "data${i}"\naddress = "dir:${path}/data${i}"\n`)
  for (const i of [7, 8]) await mkdir(`${path}/data${i}`)
  const text = await readFile(config, 'utf8')
  await writeFile(config, text.replace('[stor.meta.config]', `[[stor.groups]]\n${more.join('')}[stor.meta.config]`))
  const runtime = await openRuntime(stack, config)
  const { objects, repairer } = await runtime.store()
  const ids: string[] = []
  for (const name of ['a', 'b', 'c', 'd']) {
    await writeFile(`${path}/${name}`, randomBytes(150_000))
    ids.push((await objects.store({ file: `${path}/${name}` })).objectId)
  }
  const backendsOf = async (id: string) => (await recordOf(runtime, id)).shards.map(({ backend }) => backend)
  const [lost] = await backendsOf(ids[0]!)
  await rename(`${path}/${lost}`, `${path}/away`)
  await until(async () => (await Promise.all(ids.map(backendsOf))).every(names => !names.includes(lost!)))
  await until(() => repairer.status.pendingCount === 0)
  assert.strictEqual(repairer.thinCount, 0)
  const heldBefore = await pieceCount(`${path}/away`)
  assert.ok(heldBefore > 0)
  // Another may go now: all objects are whole without the first.
  const [second] = await backendsOf(ids[1]!)
  await rename(`${path}/${second}`, `${path}/away-too`)
  for (const id of ids) await objects.retrieve({ file: `${path}/back`, objectId: id })
  await rename(`${path}/away-too`, `${path}/${second}`)

  await rename(`${path}/away`, `${path}/${lost}`)
  await until(async () => (await pieceCount(`${path}/${lost}`)) === 0)
  await until(() => repairer.status.pendingCount === 0)
  for (const id of ids) {
    const { shards, owed } = await recordOf(runtime, id)
    assert.deepStrictEqual([shards.length, new Set(shards.map(({ backend }) => backend)).size], [6, 6])
    assert.deepStrictEqual(owed, [])
  }
  const { badShardCount, pendingCount } = await repairer.rebuild(null)
  assert.deepStrictEqual([badShardCount, pendingCount], [0, 0])
})

test('without a place that keeps the promise nothing moves, and nothing is queued for it', async () => {
  await using stack = new AsyncDisposableStack()
  const settings = { frame_bytes: '64KiB', rebuild_after: '200ms', create_namespaces: false }
  const { path, config } = await directoryStore(stack, settings)
  const runtime = await openRuntime(stack, config)
  const { objects, repairer } = await runtime.store()
  await writeFile(`${path}/f`, randomBytes(150_000))
  const { objectId } = await objects.store({ file: `${path}/f` })
  const before = await recordOf(runtime, objectId)
  await rename(`${path}/data3`, `${path}/away`)
  await until(() => runtime.fleet.isGivenUp('data3'))
  // The look through the records has an end that can be waited for: it is asked for by hand.
  const { pendingCount, rebuiltShardCount } = await repairer.rebuild([Buffer.from(objectId, 'hex')])
  assert.deepStrictEqual([pendingCount, rebuiltShardCount], [1, 0])
  assert.deepStrictEqual((await recordOf(runtime, objectId)).shards, before.shards)
  await rename(`${path}/away`, `${path}/data3`)
  await until(() => !runtime.fleet.isDown('data3') && repairer.status.pendingCount === 0)
  assert.deepStrictEqual((await recordOf(runtime, objectId)).shards, before.shards)
})
