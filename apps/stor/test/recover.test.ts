import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { KeyRing } from '@qsfs/crypto/keys'
import type { RecoverProgress } from '@qsfs/protocol/stor-control'
import { silentLog } from '@qsfs/telemetry/log'
import { seededPrng } from '@qsfs/testkit/prng'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { loadStorConfig } from '../src/config.ts'
import { rebuildRecord } from '../src/recover/rebuild-record.ts'
import { parsePiece, scanBackends } from '../src/recover/scan.ts'
import { Runtime } from '../src/runtime.ts'
import { directoryStore, openRuntime } from './store-fixture.ts'

/** The store's backends for one command, as the CLI opens them. */
async function commandOn(stack: AsyncDisposableStack, config: string) {
  const tools = { clock: systemClock, random: randomBytes, log: silentLog }
  const runtime = stack.use(new Runtime(loadStorConfig(config), tools))
  const obstacle = await runtime.openOnce().then(
    () => null,
    error => error,
  )
  return { runtime, obstacle }
}

/** A store with four objects; its daemon has ended. */
async function filledStore(stack: AsyncDisposableStack) {
  const { path, config } = await directoryStore(stack)
  const files = new Map<string, Buffer>()
  await using daemon = new AsyncDisposableStack()
  const { objects, upkeep } = await (await openRuntime(daemon, config)).store()
  const store = async (name: string, bytes: Buffer, attach?: string) => {
    files.set(name, bytes)
    await writeFile(name, bytes)
    return objects.store(attach === undefined ? { file: name } : { file: name, attach })
  }
  await writeFile(`${path}/hint`, 'a hint')
  const hinted = await store(`${path}/a`, randomBytes(2_300_000), `${path}/hint`)
  await store(`${path}/empty`, Buffer.alloc(0))
  await store(`${path}/zeros`, Buffer.alloc(3_000_000))
  const old = await store(`${path}/twice`, Buffer.from('version 1'))
  await store(`${path}/twice`, Buffer.from('version 2'))
  // A rotation brings the copies of the superblock up to date; by itself the daemon does so after a while.
  await upkeep.rotate({ deep: false, finish: false })
  return { path, config, files, hinted, old }
}

async function loseMetadata(path: string) {
  for (let i = 1; i <= 6; i++) await rm(`${path}/meta${i}/records`, { recursive: true })
}

describe('stor recover', () => {
  test('rebuilds everything from the master secret and the data backends that are left', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config, files, hinted, old } = await filledStore(stack)
    await loseMetadata(path)
    for (const i of [2, 5]) await rm(`${path}/data${i}/pieces`, { recursive: true })
    {
      await using command = new AsyncDisposableStack()
      const { runtime, obstacle } = await commandOn(command, config)
      assert.match(obstacle.message, /stor recover/)
      const told: RecoverProgress[] = []
      const onProgress = (progress: RecoverProgress) => told.push(progress)
      const { recoveredCount, presentCount, lostCount, unreadBackends } = await runtime.recover({ onProgress })
      assert.deepStrictEqual([...new Set(told.map(({ phase }) => phase))], ['reading', 'rebuilding'])
      const { doneCount, totalCount, etaMs, ...last } = told.at(-1)!
      assert.deepStrictEqual([doneCount, etaMs, last], [totalCount, 0, { phase: 'rebuilding', recoveredCount: 5 }])
      assert.ok(told.some(({ phase, doneCount, etaMs }) => phase === 'reading' && doneCount > 0 && etaMs! >= 0))
      assert.deepStrictEqual(
        { recoveredCount, presentCount, lostCount, unreadBackends },
        {
          ...{ recoveredCount: 5, presentCount: 0, lostCount: 0, unreadBackends: [] },
        },
      )
    }
    await using after = new AsyncDisposableStack()
    const { objects } = await (await openRuntime(after, config)).store()
    for (const [name, bytes] of files) {
      await objects.retrieve({ file: `${path}/back`, name })
      assert.deepStrictEqual(await readFile(`${path}/back`), bytes, name)
    }
    await objects.retrieve({ file: `${path}/back`, objectId: hinted.objectId, attachmentTo: `${path}/hint2` })
    assert.strictEqual(await readFile(`${path}/hint2`, 'utf8'), 'a hint')
    await objects.retrieve({ file: `${path}/back`, objectId: old.objectId })
    assert.strictEqual(await readFile(`${path}/back`, 'utf8'), 'version 1')
    // A repeated store finds its bytes by what the rebuilt record says of them.
    assert.strictEqual((await objects.store({ file: `${path}/zeros` })).repeated, true)
  })

  test('goes on after a crash, and a second run changes nothing', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await filledStore(stack)
    await loseMetadata(path)
    {
      await using command = new AsyncDisposableStack()
      const { runtime } = await commandOn(command, config)
      const stopping = new AbortController()
      const recovering = runtime.recover({ signal: stopping.signal })
      const records = async () => (await readdir(`${path}/meta1/records`).catch(() => [])).length
      while ((await records()) < 2) await new Promise(resolve => setTimeout(resolve, 2))
      stopping.abort(new Error('crash'))
      await assert.rejects(recovering)
    }
    // The superblock is written last: until then nobody opens the store and takes shards for orphans.
    await using command = new AsyncDisposableStack()
    const { runtime, obstacle } = await commandOn(command, config)
    assert.match(obstacle.message, /stor recover/)
    const { recoveredCount, presentCount, lostCount } = await runtime.recover()
    assert.deepStrictEqual([recoveredCount + presentCount, lostCount, presentCount > 0], [5, 0, true])
    await using again = new AsyncDisposableStack()
    const second = await commandOn(again, config)
    assert.strictEqual(second.obstacle, null)
    assert.strictEqual((await second.runtime.recover()).presentCount, 5)
  })

  test('of a store that opens it brings back the records that are missing', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config, hinted } = await filledStore(stack)
    const key = Buffer.concat([Buffer.from('o'), Buffer.from(hinted.objectId, 'hex')]).toString('hex')
    for (let i = 1; i <= 6; i++) await unlink(`${path}/meta${i}/records/${key}00`)
    const runtime = await openRuntime(stack, config)
    const { objects } = await runtime.store()
    await assert.rejects(objects.retrieve({ file: `${path}/b`, objectId: hinted.objectId }), { reason: 'not-found' })
    const { recoveredCount, presentCount } = await runtime.recover()
    assert.deepStrictEqual([recoveredCount, presentCount], [1, 4])
    await objects.retrieve({ file: `${path}/b`, objectId: hinted.objectId })
  })

  test('another master secret recovers nothing, and says so', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await filledStore(stack)
    const other = await directoryStore(stack)
    await openRuntime(stack, other.config)
    await loseMetadata(path)
    await writeFile(`${path}/master`, await readFile(`${other.path}/master`))
    const { runtime } = await commandOn(stack, config)
    await assert.rejects(runtime.recover(), { reason: 'wrong-key' })
  })
})

describe('what is found on data backends', () => {
  test('random and mangled values are no pieces, or are not believed', async t => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await filledStore(stack)
    const random = seededPrng(t)
    const values: Buffer[] = []
    const { fleet } = (await commandOn(stack, config)).runtime
    for (const { backend } of fleet.data) {
      for await (const ids of backend.list()) for (const id of ids) values.push(await backend.get(id))
    }
    assert.ok(values.length > 30, path)
    const hostile = new MemoryBackend('hostile')
    for (let round = 0; round < 300; round++) {
      const value = Buffer.from(random.pick(values)).subarray(0, random.below(400))
      for (let flips = random.below(4); flips > 0 && value.length > 0; flips--)
        value[random.below(value.length)]! ^= random.below(256)
      parsePiece(value)
      await hostile.put(value)
    }
    const { objects } = await scanBackends([hostile])
    const ring = KeyRing.fresh(random.bytes)
    for (const object of objects.values()) await assert.rejects(rebuildRecord(object, ring, []), { name: 'StorError' })
    // Beside the true ones the false ones change nothing.
    const mixed = await scanBackends([hostile, ...fleet.data.map(({ backend }) => backend)])
    const { keys } = await (await openRuntime(stack, config)).store()
    let rebuiltCount = 0
    for (const object of mixed.objects.values()) {
      const record = await rebuildRecord(object, keys, []).catch(() => null)
      if (record !== null) rebuiltCount++
    }
    assert.strictEqual(rebuiltCount, 5)
  })
})
