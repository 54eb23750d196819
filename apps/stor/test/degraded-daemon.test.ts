import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { askControl } from '@qsfs/daemon/control'
import type { CheckResult, ReloadResult, StatusResult, StoreResult } from '@qsfs/protocol/stor-control'
import { RespClient } from '@qsfs/resp/client'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { cli, startDaemon } from './cli-fixture.ts'
import { storeToml, until as untilTrue } from './store-fixture.ts'
import { startCachedb } from './zdb-servers.ts'

/** What is asked often keeps the daemon from what is waited for. */
const until = (isTrue: () => boolean | Promise<boolean>) => untilTrue(isTrue, { everyMs: 75 })

/** A daemon over two cachedb processes and directories, n data backends in all. */
async function house(stack: AsyncDisposableStack, dataCount: number, extra: Parameters<typeof storeToml>[3] = {}) {
  const { path } = stack.use(await temporaryDirectory())
  const servers = await Promise.all([startCachedb(stack), startCachedb(stack)])
  const data = Array.from({ length: dataCount }, (_, i) => {
    return { name: `data${i + 1}`, address: servers[i]?.address ?? `dir:${path}/data${i + 1}` }
  })
  const meta = [1, 2, 3].map(i => ({ name: `meta${i}`, address: `dir:${path}/meta${i}` }))
  for (const { address } of [...data, ...meta]) {
    if (address.startsWith('dir:')) await mkdir(address.slice('dir:'.length))
  }
  const config = `${path}/qsfs.toml`
  await writeFile(config, storeToml(path, data, meta, { redundant_groups: 0, ...extra }))
  await startDaemon(stack, config)
  const socket = `${path}/stor.sock`
  const ask = async <T>(verb: string, params: Record<string, unknown> = {}) =>
    (await askControl(socket, verb, params)) as T
  const status = () => ask<StatusResult>('status')
  const backend = async (name: string) => (await status()).backends.find(one => one.name === name)!
  await until(async () => (await status()).backends.every(({ health }) => health === 'up'))
  return { path, config, socket, servers, ask, status, backend }
}

/** Stores a file, and does something when the first of its bytes are on their way. */
async function storeAndMeanwhile(
  socket: string,
  file: string,
  meanwhile: () => Promise<unknown>,
): Promise<StoreResult> {
  let isBegun = false
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const onProgress = () => {
    if (!isBegun) resolve()
    isBegun = true
  }
  const storing = askControl(socket, 'store', { file }, { onProgress })
  storing.catch(resolve)
  await begun
  await meanwhile()
  return (await storing) as StoreResult
}

describe('a daemon whose backends fail', () => {
  test('stores at the quorum while one dies, refuses with two, catches up when they are back; status tells all of it', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config, socket, servers, ask, status, backend } = await house(stack, 6)
    const bytes = randomBytes(12_000_000)
    await writeFile(`${path}/big`, bytes)
    const thin = await storeAndMeanwhile(socket, `${path}/big`, () => servers[0].process.kill9())
    assert.strictEqual(thin.shardsConfirmed, 5)
    await until(async () => (await backend('data1')).health === 'down')
    const down = await backend('data1')
    assert.ok(down.sinceMs > Date.now() - 300_000 && down.sinceMs <= Date.now())
    assert.deepStrictEqual([down.fallCount, down.full, down.reachable], [1, false, false])
    assert.ok(down.errorCount > 0 && down.lastError !== '')
    const { thinObjectCount, writable, marginLocations, repair } = await status()
    assert.deepStrictEqual([thinObjectCount, writable, marginLocations], [1, true, 1])
    assert.deepStrictEqual([repair?.pendingCount, repair?.thinnestMargin], [1, 1])
    await until(async () => (await status()).repair!.reasons.some(({ reason }) => reason === 'data1 is down'))
    const text = (await cli('status', '--socket', socket)).stdout
    assert.match(text, /data1: down for .*/)
    assert.match(text, /1: data1 is down/)

    // A store that would be whole with five is refused where six are asked for.
    const toml = await readFile(config, 'utf8')
    await writeFile(config, toml.replace('[stor]', '[stor]\nwrite_quorum = 6'))
    assert.deepStrictEqual((await ask<ReloadResult>('reload')).changed, ['write_quorum: 5 is now 6'])
    await until(async () => (await backend('data1')).health === 'down')
    await writeFile(`${path}/small`, 'small')
    const refused = await cli('store', '-f', `${path}/small`, '--socket', socket)
    assert.strictEqual(refused.code, 1)
    assert.match(refused.stderr, /only 5 of the 6 backends .* at least 6 must be: data1 is down/)
    await writeFile(config, toml)
    await ask('reload')

    await servers[1].process.kill9()
    await until(async () => (await backend('data2')).health === 'down' && (await backend('data1')).health === 'down')
    await assert.rejects(ask('store', { file: `${path}/small` }), { code: 'too-few-shards' })
    const closed = await status()
    assert.deepStrictEqual([closed.writable, closed.marginLocations], [false, 0])
    assert.match(closed.reason, /data1 is down, data2 is down/)
    await ask('retrieve', { file: `${path}/back`, objectId: thin.objectId })
    assert.ok((await readFile(`${path}/back`)).equals(bytes))

    await Promise.all(servers.map(server => server.restart()))
    await until(async () => (await status()).thinObjectCount === 0 && (await status()).repair!.pendingCount === 0)
    const { deep } = await ask<CheckResult>('check', { objectId: thin.objectId, deep: true })
    assert.deepStrictEqual([deep?.ok, deep?.goodShardCount], [true, 6])
    assert.strictEqual((await ask<StoreResult>('store', { file: `${path}/small` })).shardsConfirmed, 6)
    assert.strictEqual((await status()).marginLocations, 2)
  })

  test('a backend that fills up in the middle of stores is left out; its shards go to one that is added', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config, socket, servers, ask, status, backend } = await house(stack, 6, { rebuild_after: '1d' })
    const limit = async (server: (typeof servers)[number], bytes: number) => {
      await using client = await RespClient.connect({ address: server.address })
      await client.call('NSSET', 'data', 'maxsize', String(bytes))
    }
    // Room for the shard of one, as each of two stores sees when it begins.
    await limit(servers[0], 2_125_000)
    await until(async () => ((await backend('data1')).freeBytes ?? 1e9) <= 2_125_000)
    const content = ['a', 'b'].map(() => randomBytes(6_000_000))
    for (const [i, name] of ['a', 'b'].entries()) await writeFile(`${path}/${name}`, content[i]!)
    const stored = await Promise.all(['a', 'b'].map(name => ask<StoreResult>('store', { file: `${path}/${name}` })))
    assert.ok(stored.some(({ shardsConfirmed }) => shardsConfirmed === 5))
    assert.ok(stored.every(({ shardsConfirmed }) => shardsConfirmed >= 5))
    await until(async () => (await status()).repair!.reasons.some(({ reason }) => reason === 'data1 has no room'))
    const { health, errorCount, lastError } = await backend('data1')
    assert.strictEqual(health, 'up')
    assert.strictEqual((await status()).marginLocations, 1)
    assert.ok(errorCount > 0)
    assert.match(lastError, /No space left/)

    // Two that are too small for anything: what is full is not written to, and below the quorum the answer says so.
    await Promise.all(servers.map(server => limit(server, 1000)))
    await until(async () => (await backend('data1')).full && (await backend('data2')).full)
    assert.match((await cli('status', '--socket', socket)).stdout, /data1 .*Yes, but full/)
    await writeFile(`${path}/small`, 'small')
    await assert.rejects(ask('store', { file: `${path}/small` }), {
      code: 'too-few-shards',
      message: /at least 5 must be: data1 is full, data2 is full$/,
    })
    assert.strictEqual((await status()).writable, false)

    const more = [7, 8].map(i => `[[stor.groups.backends]]\nname = "data${i}"\naddress = "dir:${path}/data${i}"\n`)
    const toml = await readFile(config, 'utf8')
    await writeFile(config, toml.replace('[stor.meta.config]', `[[stor.groups]]\n${more.join('')}[stor.meta.config]`))
    assert.ok((await ask<ReloadResult>('reload')).changed.includes('data backend data7 is new'))
    await until(async () => (await status()).repair?.surveyed === true && (await status()).thinObjectCount === 0)
    for (const { objectId } of stored) {
      const { deep } = await ask<CheckResult>('check', { objectId, deep: true })
      assert.deepStrictEqual([deep?.ok, deep?.goodShardCount], [true, 6])
    }
    await until(async () => (await backend('data1')).full && (await backend('data2')).full)
    assert.strictEqual((await ask<StoreResult>('store', { file: `${path}/small` })).shardsConfirmed, 6)
  })
})
