import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { objectKey } from '../src/metadata/name-record.ts'
import { decodeRecord, type ObjectRecord } from '../src/metadata/object-record.ts'
import type { Runtime } from '../src/runtime.ts'
import { directoryStore, openRuntime, until } from './store-fixture.ts'

async function recordOf(runtime: Runtime, objectId: string): Promise<ObjectRecord> {
  const { meta } = await runtime.store()
  return decodeRecord((await meta.get(objectKey(Buffer.from(objectId, 'hex'))))!.bytes)
}

/** The files of a directory backend's pieces. */
async function pieceFiles(directory: string): Promise<string[]> {
  const names = await readdir(`${directory}/pieces`, { recursive: true }).catch(() => [])
  return names.filter(name => /^\d+\/\d+$/.test(name)).map(name => `${directory}/pieces/${name}`)
}

async function flipOneBit(file: string): Promise<void> {
  const bytes = await readFile(file)
  bytes[Math.floor(bytes.length / 2)]! ^= 1
  await writeFile(file, bytes)
}

/** A store with one object of three frames, still open. */
async function storeWithObject(stack: AsyncDisposableStack, runtimes = stack) {
  const { path, config } = await directoryStore(stack, { frame_bytes: '64KiB' })
  const bytes = randomBytes(150_000)
  const file = `${path}/file`
  await writeFile(file, bytes)
  const runtime = await openRuntime(runtimes, config)
  const { objects, repairer } = await runtime.store()
  const { objectId } = await objects.store({ file })
  const readsBack = async (from: Runtime) => {
    const back = `${path}/back`
    await rm(back, { force: true })
    await (await from.store()).objects.retrieve({ file: back, objectId })
    return (await readFile(back)).equals(bytes)
  }
  /** By their records and by reading all of them. */
  const isWhole = async (from = runtime) => {
    const { shards, owed } = await recordOf(from, objectId)
    const repair = (await from.store()).repairer
    const { verifiedShardCount, badShardCount, pendingCount } = await repair.rebuild([Buffer.from(objectId, 'hex')])
    const all = shards.every(({ confirmed }) => confirmed) && owed.length === 0
    return all && verifiedShardCount === shards.length && badShardCount === 0 && pendingCount === 0
  }
  return { path, config, file, runtime, objects, repairer, objectId, readsBack, isWhole }
}

describe('repair', () => {
  test('what a reader met as wrong or missing is rewritten, and what lay there goes', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, runtime, objectId, readsBack, isWhole, repairer } = await storeWithObject(stack)
    const { shards } = await recordOf(runtime, objectId)
    // The data shards are the ones a reader asks for first.
    const [flipped, emptied] = [shards[0]!, shards[1]!]
    await flipOneBit((await pieceFiles(`${path}/${flipped.backend}`))[1]!)
    await rm((await pieceFiles(`${path}/${emptied.backend}`))[2]!)
    assert.ok(await readsBack(runtime))
    await until(() => repairer.status.rebuiltShardCount === 2 && repairer.status.pendingCount === 0)
    const { shards: now, owed } = await recordOf(runtime, objectId)
    assert.deepStrictEqual(
      now.map(({ index, root }) => root.equals(shards[index]!.root)),
      shards.map(() => true),
    )
    assert.notDeepStrictEqual(now[0]!.runs, flipped.runs)
    assert.deepStrictEqual(owed, [])
    assert.strictEqual((await pieceFiles(`${path}/${flipped.backend}`)).length, 3)
    assert.strictEqual((await pieceFiles(`${path}/${emptied.backend}`)).length, 3)
    assert.ok(await isWhole())
    assert.ok(repairer.status.reportedCount >= 2)
  })

  test('an object stored while a backend was away is completed when it is back, by the next process too', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { create_namespaces: false })
    const away = [`${path}/data2`, `${path}/away`] as const
    const bytes = randomBytes(100_000)
    await writeFile(`${path}/file`, bytes)
    await rename(...away)
    let objectId = ''
    {
      await using first = new AsyncDisposableStack()
      const runtime = await openRuntime(first, config)
      await until(() => runtime.fleet.isDown('data2'))
      const { objects, repairer } = await runtime.store()
      const stored = await objects.store({ file: `${path}/file` })
      assert.strictEqual(stored.shardsConfirmed, 5)
      objectId = stored.objectId
      assert.strictEqual(repairer.thinCount, 1)
      await until(() => repairer.status.reasons.some(({ reason }) => reason === 'data2 is down'))
    }
    const runtime = await openRuntime(stack, config)
    const { repairer } = await runtime.store()
    await until(() => repairer.thinCount === 1 && repairer.status.surveyed)
    await rename(away[1], away[0])
    await until(() => repairer.thinCount === 0 && repairer.status.pendingCount === 0)
    assert.ok((await recordOf(runtime, objectId)).shards.every(({ confirmed }) => confirmed))
  })

  test('a backend whose disk was exchanged is filled again', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, runtime, isWhole, readsBack } = await storeWithObject(stack)
    for (const i of [3, 4]) {
      await rename(`${path}/data${i}`, `${path}/gone${i}`)
      await mkdir(`${path}/data${i}`)
    }
    await until(
      async () => (await pieceFiles(`${path}/data3`)).length + (await pieceFiles(`${path}/data4`)).length === 6,
    )
    await until(() => isWhole())
    for (const i of [1, 2]) await rename(`${path}/data${i}`, `${path}/gone${i}`)
    assert.ok(await readsBack(runtime))
  })

  test('a backend that left the config is replaced by one that came, and one that drains is emptied', async () => {
    await using stack = new AsyncDisposableStack()
    const first = new AsyncDisposableStack()
    const { path, config, objectId, readsBack } = await storeWithObject(stack, first)
    await first.disposeAsync()
    await mkdir(`${path}/data7`)
    await mkdir(`${path}/data8`)
    const toml = await readFile(config, 'utf8')
    const edited = toml
      .replace(`name = "data1"\naddress = "dir:${path}/data1"`, `name = "data7"\naddress = "dir:${path}/data7"`)
      .replace(
        'name = "data3"',
        `name = "data8"\naddress = "dir:${path}/data8"\n[[stor.groups.backends]]\ndrain = true\nname = "data3"`,
      )
    await writeFile(config, edited)
    const runtime = await openRuntime(stack, config)
    const { repairer } = await runtime.store()
    await until(() => repairer.status.surveyed && repairer.status.pendingCount === 0)
    const { shards, owed } = await recordOf(runtime, objectId)
    assert.deepStrictEqual(shards.map(({ backend }) => backend).sort(), [
      'data2',
      'data4',
      'data5',
      'data6',
      'data7',
      'data8',
    ])
    assert.deepStrictEqual(await pieceFiles(`${path}/data3`), [])
    assert.strictEqual((await pieceFiles(`${path}/data8`)).length, 3)
    // Nobody can remove what is on a backend that is no more; it stays owed.
    assert.deepStrictEqual(
      owed.map(({ backend }) => backend),
      ['data1'],
    )
    for (const i of [2, 5]) await rename(`${path}/data${i}`, `${path}/gone${i}`)
    assert.ok(await readsBack(runtime))
  })

  test('with more than n - k shards bad it says so, touches nothing, and others are repaired meanwhile', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, runtime, objects, repairer, objectId } = await storeWithObject(stack)
    await writeFile(`${path}/other`, randomBytes(100_000))
    const other = await objects.store({ file: `${path}/other` })
    const { shards } = await recordOf(runtime, objectId)
    for (const { backend, runs } of shards.slice(0, 3))
      await flipOneBit(`${path}/${backend}/pieces/0/${runs[0]!.start + 1}`)
    const { shards: otherShards } = await recordOf(runtime, other.objectId)
    await rm(`${path}/${otherShards[5]!.backend}/pieces/0/${otherShards[5]!.runs[0]!.start}`)
    const result = await repairer.rebuild(null)
    assert.deepStrictEqual([result.objectCount, result.pendingCount, result.rebuiltShardCount], [2, 1, 1])
    assert.strictEqual(result.pending[0]!.objectId, objectId)
    assert.match(result.pending[0]!.reason, /frame 1 has 3 good pieces, 4 are needed/)
    assert.deepStrictEqual((await recordOf(runtime, objectId)).shards, shards)
    await assert.rejects(objects.retrieve({ file: `${path}/back`, objectId }), { reason: 'too-few-shards' })
  })

  test('the scrub finds what nobody read, and goes on where it was', async () => {
    await using stack = new AsyncDisposableStack()
    const first = new AsyncDisposableStack()
    const { path, config, isWhole } = await storeWithObject(stack, first)
    await first.disposeAsync()
    await flipOneBit((await pieceFiles(`${path}/data6`))[1]!)
    await writeFile(config, (await readFile(config, 'utf8')).replace('[stor]', '[stor]\nscrub_period = "1s"'))
    const runtime = await openRuntime(stack, config)
    const { repairer } = await runtime.store()
    await until(() => repairer.status.rebuiltShardCount === 1)
    assert.ok(repairer.status.scrub!.badShardCount === 1)
    assert.ok(await isWhole(runtime))
  })
})
