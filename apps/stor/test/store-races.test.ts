import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import type { ObjectStore } from '../src/object-store.ts'
import { ObjectCount, statusOf } from '../src/status.ts'
import { directoryStore, openRuntime, until } from './store-fixture.ts'

describe('a place that came back empty gives its ids a second time', () => {
  test('deleting an object that had them before leaves the new owner whole', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const [older, newer] = [`${path}/older`, `${path}/newer`]
    await writeFile(older, randomBytes(2_500_000))
    await writeFile(newer, randomBytes(2_500_000))
    const first = await (async () => {
      await using before = new AsyncDisposableStack()
      const { objects } = await (await openRuntime(before, config)).store()
      return await objects.store({ file: older })
    })()
    const emptied = [1, 2].map(i => `${path}/data${i}`)
    for (const directory of emptied) {
      await rm(directory, { recursive: true })
      await mkdir(directory)
    }
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    await objects.store({ file: newer })
    const counts = () => Promise.all(runtime.fleet.data.map(async ({ backend }) => (await backend.stat()).valueCount))
    // Or more than 3, where repair was quick.
    assert.deepStrictEqual((await counts()).slice(2), [6, 6, 6, 6])
    const { owedBackends } = await objects.delete({ objectId: first.objectId })
    assert.deepStrictEqual(owedBackends, [])
    await until(async () => (await counts()).every(count => count === 3))
  })
})

test('the same object retrieved to the same path twice at once, once with its attachment, is whole', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack)
  const { objects } = await (await openRuntime(stack, config)).store()
  const [file, hint, back] = [`${path}/d7`, `${path}/h7`, `${path}/back`]
  const bytes = randomBytes(5_000_000)
  await writeFile(file, bytes)
  await writeFile(hint, 'a hint')
  const { objectId } = await objects.store({ file, attach: hint })
  for (let round = 0; round < 3; round++) {
    await rm(back, { force: true })
    const with_ = objects.retrieve({ file: back, objectId, attachmentTo: `${back}.hint` })
    const without = objects.retrieve({ file: back, objectId })
    await Promise.race([with_, without])
    assert.ok((await readFile(back)).equals(bytes))
    await Promise.all([with_, without])
    assert.ok((await readFile(back)).equals(bytes))
  }
})

test('the same bytes with another attachment are another object', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack)
  const { objects } = await (await openRuntime(stack, config)).store()
  const [file, hint] = [`${path}/d7`, `${path}/h7`]
  await writeFile(file, 'a segment')
  await writeFile(hint, 'a hint')
  const first = await objects.store({ file, attach: hint })
  assert.strictEqual((await objects.store({ file, attach: hint })).repeated, true)
  await writeFile(hint, 'another')
  const second = await objects.store({ file, attach: hint })
  assert.strictEqual(second.repeated, false)
  assert.notStrictEqual(second.objectId, first.objectId)
  await objects.retrieve({ file, objectId: second.objectId, attachmentTo: `${hint}.back` })
  assert.strictEqual(await readFile(`${hint}.back`, 'utf8'), 'another')
})

test('a name that no record has room for is refused before anything is sent', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack)
  const runtime = await openRuntime(stack, config)
  const { objects } = await runtime.store()
  await writeFile(`${path}/f`, 'x')
  await assert.rejects(objects.store({ file: `${path}/f`, name: `/${'€'.repeat(1500)}` }), { reason: 'refused' })
  const counts = await Promise.all(runtime.fleet.data.map(async ({ backend }) => (await backend.stat()).valueCount))
  assert.deepStrictEqual(counts, [0, 0, 0, 0, 0, 0])
})

test('a status right after the first store does not take the last check, from before it, for a loss', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack, { health_check_interval: '1h' })
  const runtime = await openRuntime(stack, config)
  const { objects } = await runtime.store()
  await until(() => runtime.fleet.data.every(({ backend }) => runtime.fleet.observeData(backend.name).reachable))
  await writeFile(`${path}/f`, 'x')
  await objects.store({ file: `${path}/f` })
  assert.strictEqual((await statusOf(runtime, new ObjectCount(systemClock), true)).marginLocations, 2)
})

test('what a backend that was away owes is removed when it is back, also by the next process', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack, { create_namespaces: false })
  const files = [`${path}/one`, `${path}/two`] as const
  const away = [`${path}/data2`, `${path}/away`] as const
  const owedBy = async (file: string, objects: ObjectStore) => (await objects.delete({ file })).owedBackends
  {
    await using first = new AsyncDisposableStack()
    const runtime = await openRuntime(first, config)
    const { objects } = await runtime.store()
    for (const file of files) {
      await writeFile(file, file)
      await objects.store({ file })
    }
    await rename(...away)
    assert.deepStrictEqual(await owedBy(files[0], objects), ['data2'])
  }
  const runtime = await openRuntime(stack, config)
  const { objects, meta } = await runtime.store()
  await until(() => runtime.fleet.isDown('data2'))
  assert.deepStrictEqual(await owedBy(files[1], objects), ['data2'])
  await rename(away[1], away[0])
  const { backend } = runtime.fleet.data[1]!
  await until(async () => (await backend.stat().catch(() => null))?.valueCount === 0)
  await until(async () => (await meta.list()).length === 0)
})
