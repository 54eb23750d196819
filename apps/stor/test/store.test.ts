import assert from 'node:assert'
import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { ObjectCount, statusOf, testStore } from '../src/status.ts'
import { FakeZdb } from './fake-zdb.ts'
import { directoryStore, openRuntime, storeToml, until } from './store-fixture.ts'

const NOT_FOUND = { reason: 'not-found', message: /entity not found/ }

describe('a store on six directories', () => {
  test('stores, checks, retrieves by name and by id, deletes', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const { objects } = await (await openRuntime(stack, config)).store()
    const [file, hint, back] = [`${path}/d7`, `${path}/h7`, `${path}/back`]
    const bytes = randomBytes(3_000_001)
    await writeFile(file, bytes)
    await writeFile(hint, 'a hint')
    const progress: number[] = []
    const stored = await objects.store(
      { file, attach: hint },
      { onProgress: ({ doneBytes }) => progress.push(doneBytes) },
    )
    assert.deepStrictEqual(
      { ...stored, objectId: '' },
      {
        objectId: '',
        name: file,
        sizeBytes: 3_000_001,
        shardsConfirmed: 6,
        shardCount: 6,
        repeated: false,
        replacedObjectId: null,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      },
    )
    assert.strictEqual(progress.at(-1), 3_000_007)

    const checked = await objects.check({ file })
    assert.strictEqual(checked.objectId, stored.objectId)
    assert.match(checked.checksum, /^[0-9a-f]{32}$/)
    // Taken from the shards once, then kept in the record.
    const away = [1, 2, 3].map(i => [`${path}/data${i}`, `${path}/away${i}`] as const)
    for (const [here, there] of away) await rename(here, there)
    assert.strictEqual((await objects.check({ file })).checksum, checked.checksum)
    for (const [here, there] of away) await rename(there, here)

    const retrieved = await objects.retrieve({ file: back, objectId: stored.objectId, attachmentTo: `${back}.hint` })
    assert.deepStrictEqual(retrieved, { objectId: stored.objectId, sizeBytes: 3_000_001, attachmentBytes: 6 })
    assert.deepStrictEqual(await readFile(back), bytes)
    assert.strictEqual(await readFile(`${back}.hint`, 'utf8'), 'a hint')
    await rm(file)
    await objects.retrieve({ file })
    assert.deepStrictEqual(await readFile(file), bytes)

    assert.deepStrictEqual(await objects.delete({ file }), { found: true, objectId: stored.objectId, owedBackends: [] })
    await assert.rejects(objects.retrieve({ file: back, objectId: stored.objectId }), NOT_FOUND)
    await assert.rejects(objects.retrieve({ file }), NOT_FOUND)
    assert.strictEqual((await objects.check({ file })).found, false)
    assert.strictEqual((await objects.delete({ file })).found, false)
    assert.strictEqual((await objects.delete({ objectId: stored.objectId })).found, false)
    // Nothing is left anywhere: no piece, no record but the superblock, how far the scrub is, and the daemon's word.
    const { fleet } = await openRuntime(stack, config)
    for (const { backend } of fleet.data) assert.strictEqual((await backend.stat()).valueCount, 0)
    for (const { backend } of fleet.meta) assert.ok((await backend.stat()).valueCount <= 3)
  })

  test('answers a repeated store with the id it has, and stores changed bytes anew', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    const file = `${path}/f`
    await writeFile(file, 'version 1')
    const first = await objects.store({ file })
    const again = await objects.store({ file })
    assert.deepStrictEqual([again.objectId, again.repeated], [first.objectId, true])
    const copy = `${path}/copy`
    await writeFile(copy, 'version 1')
    assert.strictEqual((await objects.store({ file: copy, name: file })).objectId, first.objectId)
    await writeFile(file, 'version 2')
    const second = await objects.store({ file })
    assert.deepStrictEqual([second.repeated, second.replacedObjectId], [false, first.objectId])
    // The older one is still there by its id, and its deletion leaves the name alone.
    await objects.retrieve({ file: copy, objectId: first.objectId })
    assert.strictEqual(await readFile(copy, 'utf8'), 'version 1')
    await objects.delete({ objectId: first.objectId })
    assert.strictEqual((await objects.check({ file })).objectId, second.objectId)
    assert.strictEqual((await statusOf(runtime, new ObjectCount(systemClock), true)).objectCount, 1)
  })

  test('two who store the same file at once share one upload', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    const file = `${path}/f`
    await writeFile(file, randomBytes(500_000))
    const [a, b] = await Promise.all([objects.store({ file }), objects.store({ file })])
    assert.strictEqual(a.objectId, b.objectId)
    const counts = await Promise.all(runtime.fleet.data.map(async ({ backend }) => (await backend.stat()).valueCount))
    assert.deepStrictEqual(counts, [1, 1, 1, 1, 1, 1])
  })

  test('any two places may be lost: all is read, and status says what is left', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    const file = `${path}/f`
    const bytes = randomBytes(2_500_000)
    await writeFile(file, bytes)
    const { objectId } = await objects.store({ file })
    for (const kind of ['data', 'meta']) {
      for (const i of [2, 5]) await rename(`${path}/${kind}${i}`, `${path}/lost-${kind}${i}`)
    }
    await objects.retrieve({ file: `${path}/back`, objectId })
    assert.deepStrictEqual(await readFile(`${path}/back`), bytes)
    await until(() => runtime.fleet.isDown('data2') && runtime.fleet.isDown('data5'))
    await objects.retrieve({ file: `${path}/back`, name: file })
    const status = await statusOf(runtime, new ObjectCount(systemClock), true)
    assert.deepStrictEqual([status.marginLocations, status.writable, status.objectCount], [0, false, 1])
    assert.match(status.reason, /at least 5 must be/)
    await writeFile(file, 'something else')
    await assert.rejects(objects.store({ file }), { reason: 'too-few-shards' })
    // One comes back: an object may be stored without the other, and survives one loss less.
    await rename(`${path}/lost-data5`, `${path}/data5`)
    await until(() => !runtime.fleet.isDown('data5'))
    const thin = await objects.store({ file })
    assert.strictEqual(thin.shardsConfirmed, 5)
    assert.strictEqual((await statusOf(runtime, new ObjectCount(systemClock), true)).thinObjectCount, 1)
    const deleted = await objects.delete({ objectId })
    assert.deepStrictEqual(deleted.owedBackends, ['data2'])
    await assert.rejects(objects.retrieve({ file: `${path}/back`, objectId }), NOT_FOUND)
    // What is owed is remembered: deleting again, when it is back, ends it.
    await rename(`${path}/lost-data2`, `${path}/data2`)
    await until(() => !runtime.fleet.isDown('data2'))
    assert.deepStrictEqual((await objects.delete({ objectId })).owedBackends, [])
  })

  test('a wrong master secret, a missing one and damage are told apart', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    {
      await using first = new AsyncDisposableStack()
      await (await openRuntime(first, config)).store()
    }
    const master = await readFile(`${path}/master`, 'utf8')
    const opening = async () => {
      await using attempt = new AsyncDisposableStack()
      await openRuntime(attempt, config)
    }
    await rename(`${path}/master`, `${path}/kept`)
    await assert.rejects(opening(), { reason: 'wrong-key', message: /its master secret is not here/ })
    await writeFile(`${path}/master`, master.replace(/-[0-9a-f]{8}-/, '-00000000-'), { mode: 0o600 })
    await assert.rejects(opening(), { reason: 'wrong-key', message: /mistyped/ })
    await using other = new AsyncDisposableStack()
    const elsewhere = await directoryStore(other)
    await openRuntime(other, elsewhere.config)
    await writeFile(`${path}/master`, await readFile(`${elsewhere.path}/master`))
    await assert.rejects(opening(), { reason: 'wrong-key', message: /not the one this store was made with/ })
    await writeFile(`${path}/master`, master)
    await chmod(`${path}/master`, 0o644)
    await assert.rejects(opening(), { message: /others may read/ })
    await chmod(`${path}/master`, 0o600)

    // One damaged copy is passed over and mended; when all are, it is damage and nothing else.
    const copies = [1, 2, 3, 4, 5, 6].map(i => `${path}/meta${i}/records/${Buffer.from('s').toString('hex')}`)
    const damage = async (copy: string) => {
      const bytes = await readFile(copy)
      bytes[bytes.length - 1]! ^= 1
      await writeFile(copy, bytes)
    }
    await damage(copies[0]!)
    await opening()
    for (const copy of copies) await damage(copy)
    await assert.rejects(opening(), { reason: 'damaged' })
  })

  test('a new store is made only when all metadata backends answer', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { create_namespaces: false })
    await rename(`${path}/meta3`, `${path}/away`)
    const runtime = await openRuntime(stack, config)
    assert.match(runtime.now.obstacle, /a new store is made only when all answer/)
    await rename(`${path}/away`, `${path}/meta3`)
    assert.ok((await runtime.store()).objects)
  })

  test('a metadata backend that comes back empty is silent, then filled', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    const file = `${path}/f`
    await writeFile(file, 'kept')
    const { objectId } = await objects.store({ file })
    // At once: a daemon that writes meanwhile leaves a directory that is being removed not empty.
    await rename(`${path}/meta1`, `${path}/gone`)
    await until(() => runtime.fleet.isMetaDown('meta1'))
    await mkdir(`${path}/meta1`)
    const member = runtime.members.find(({ name }) => name === 'meta1')!
    await until(async () => !member.blank && (await member.peek(Buffer.from('s'))) !== null)
    // It carries its weight again: with it and one other, the record is read.
    const keys = (await Array.fromAsync(runtime.fleet.meta[0]!.backend.list()))
      .flat()
      .map(key => String.fromCharCode(key[0]!))
    // The superblock, the object, its name.
    assert.deepStrictEqual(keys.filter(kind => 'son'.includes(kind)).sort(), ['n', 'o', 's'])
    assert.strictEqual((await objects.check({ file })).objectId, objectId)
  })

  test('metadata backends are not exchanged all at once, nor for one that holds something', async () => {
    await using stack = new AsyncDisposableStack()
    const { config } = await directoryStore(stack)
    {
      await using first = new AsyncDisposableStack()
      await openRuntime(first, config)
    }
    const renamed = async (from: string, to: string) => {
      await writeFile(config, (await readFile(config, 'utf8')).replace(`name = "${from}"`, `name = "${to}"`))
      await using second = new AsyncDisposableStack()
      return assert.rejects(openRuntime(second, config), { reason: 'refused', message })
    }
    let message = /another is to become a metadata backend and is not empty/
    await renamed('meta2', 'another')
    message = /meta2, meta3 left meta.config.backends and another, other came: .* one at a time/
    await renamed('meta3', 'other')
  })

  test('names are counted from the root, and files outside it refused', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    await writeFile(config, (await readFile(config, 'utf8')).replace('[stor]\n', `[stor]\nroot = "${path}"\n`))
    const { objects } = await (await openRuntime(stack, config)).store()
    await writeFile(`${path}/f`, 'x')
    assert.strictEqual((await objects.store({ file: `${path}/f` })).name, '/f')
    await assert.rejects(objects.store({ file: '/etc/hostname' }), { reason: 'refused', message: /not under the root/ })
    await assert.rejects(objects.store({ file: `${path}/nothing` }), { reason: 'file' })
  })

  test('no backend learns a name or a byte', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const { objects } = await (await openRuntime(stack, config)).store()
    const name = '/a-very-secret-name/d7'
    await writeFile(`${path}/f`, 'the quick brown fox jumps over the lazy dog '.repeat(2000))
    await objects.store({ file: `${path}/f`, name, attach: `${path}/f` })
    const { execFileSync } = await import('node:child_process')
    const places = [1, 2, 3, 4, 5, 6].flatMap(i => [`${path}/data${i}`, `${path}/meta${i}`])
    for (const word of ['a-very-secret-name', 'quick brown']) {
      // grep exits with 1 when it finds nothing.
      assert.throws(() => execFileSync('grep', ['-raq', word, ...places]), { status: 1 })
    }
  })
})

describe('a store on 0-db servers', () => {
  async function zdbStore(stack: AsyncDisposableStack) {
    const { path } = stack.use(await temporaryDirectory())
    const servers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => FakeZdb.listen()))
    for (const server of servers) stack.use(server)
    const places = (kind: string) => servers.map(({ address }, i) => ({ name: `${kind}${i + 1}`, address }))
    const config = `${path}/qsfs.toml`
    await writeFile(config, storeToml(path, places('data'), places('meta'), { backend_timeout: '1s' }))
    const runtime = await openRuntime(stack, config)
    return { path, servers, runtime, objects: (await runtime.store()).objects }
  }

  test('a server that hangs: nothing waits for ever, and objects are stored without it', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, servers, runtime, objects } = await zdbStore(stack)
    await writeFile(`${path}/f`, randomBytes(100_000))
    servers[3]!.hangs = true
    await until(() => runtime.fleet.isDown('data4'))
    const thin = await objects.store({ file: `${path}/f` })
    assert.strictEqual(thin.shardsConfirmed, 5)
    await objects.retrieve({ file: `${path}/back`, objectId: thin.objectId })
    // A server that lost its memory answers, but counts as lost.
    for (const key of servers[0]!.namespaces.keys()) servers[0]!.cut({ loses: [key] })
    await until(async () => (await statusOf(runtime, new ObjectCount(systemClock), true)).marginLocations === 0)
    const report = await testStore(runtime)
    assert.strictEqual(report.ok, false)
    assert.deepStrictEqual(
      report.lines.filter(({ ok }) => !ok).map(({ subject }) => subject),
      ['metadata meta4', 'data data4'],
    )
  })

  test('servers that lie are worked around: no wrong byte leaves', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, servers, objects } = await zdbStore(stack)
    const bytes = randomBytes(900_000)
    await writeFile(`${path}/f`, bytes)
    const { objectId } = await objects.store({ file: `${path}/f` })
    for (const server of servers.slice(0, 2)) {
      for (const { values } of server.namespaces.values()) {
        for (const [key, value] of values) {
          const changed = Buffer.from(value)
          changed[changed.length >> 1]! ^= 0x40
          values.set(key, changed)
        }
      }
    }
    await objects.retrieve({ file: `${path}/back`, objectId })
    assert.deepStrictEqual(await readFile(`${path}/back`), bytes)
    for (const { values } of servers[2]!.namespaces.values()) values.clear()
    await assert.rejects(objects.retrieve({ file: `${path}/other`, objectId }), { reason: 'too-few-shards' })
    await assert.rejects(readFile(`${path}/other`), { code: 'ENOENT' })
  })
})
