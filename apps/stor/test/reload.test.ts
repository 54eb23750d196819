import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { askControl } from '@qsfs/daemon/control'
import type { StatusResult } from '@qsfs/protocol/stor-control'
import { cli, json, startDaemon } from './cli-fixture.ts'
import { directoryStore, until } from './store-fixture.ts'

describe('reload', () => {
  test('backends and settings take effect, what is under way goes on, secrets are not told', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const daemon = await startDaemon(stack, config)
    const socket = `${path}/stor.sock`
    const bytes = randomBytes(24_000_000)
    await writeFile(`${path}/big`, bytes)
    const under = askControl(socket, 'store', { file: `${path}/big` })

    const places = [7, 8].map(i => `[[stor.groups.backends]]\nname = "data${i}"\naddress = "dir:${path}/data${i}"\n`)
    const text = await readFile(config, 'utf8')
    const settings = text.replace('expected_shards = 6', 'expected_shards = 8\nstores_max = 3\njobs_max = 5')
    await writeFile(
      config,
      settings.replace('[stor.meta.config]', `[[stor.groups]]\n${places.join('')}[stor.meta.config]`),
    )
    const reloaded = await cli('reload', '--socket', socket)
    assert.deepStrictEqual(reloaded.stdout.split('\n').sort(), [
      '',
      'data backend data7 is new',
      'data backend data8 is new',
      'expected_shards: 6 is now 8',
      'jobs_max changed and takes effect when stor is started again',
      'stores_max: 2 is now 3',
      'write_quorum: 5 is now 6',
    ])
    const { objectId } = (await under) as { objectId: string }
    await writeFile(`${path}/f`, 'f')
    const stored = await json('store', '-f', `${path}/f`, '--socket', socket)
    assert.strictEqual(stored.shardsConfirmed, 8)
    assert.ok((await readdir(`${path}/data8`)).length > 0)
    assert.strictEqual((await cli('retrieve', '-f', `${path}/back`, '--object', objectId, '--socket', socket)).code, 0)
    assert.ok((await readFile(`${path}/back`)).equals(bytes))
    assert.match((await cli('reload', '--socket', socket)).stdout, /^jobs_max changed/)

    process.kill(daemon.pid, 'SIGUSR1')
    await until(() => (daemon.stderr.match(/config\.reloaded/g) ?? []).length === 3)
    assert.doesNotMatch(daemon.stderr, /Debugger/)
    assert.strictEqual(await daemon.stop(), 0)
  })

  test('a metadata backend is exchanged, one at a time; the next when it holds everything', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const daemon = await startDaemon(stack, config)
    const socket = `${path}/stor.sock`
    await writeFile(`${path}/f`, 'f')
    assert.strictEqual((await cli('store', '-f', `${path}/f`, '--socket', socket)).code, 0)
    const text = await readFile(config, 'utf8')
    const exchanged = (i: number, by: number) => (was: string) => was.replaceAll(`meta${i}"`, `meta${by}"`)
    const two = exchanged(2, 8)(exchanged(1, 7)(text))
    await writeFile(config, two)
    const refused = await cli('reload', '--socket', socket)
    assert.match(refused.stderr, /one at a time/)
    await writeFile(config, exchanged(1, 7)(text))
    assert.match((await cli('reload', '--socket', socket)).stdout, /metadata backend meta1 is gone\n.*meta7 is new/)
    const status = async () => (await askControl(socket, 'status')) as StatusResult
    await until(
      async () => (await status()).fillingBackends.length === 0 && (await readdir(`${path}/meta7`)).length > 0,
    )
    await until(async () => (await readdir(`${path}/meta7/records`)).includes('73'))
    await writeFile(config, two)
    assert.strictEqual((await cli('reload', '--socket', socket)).code, 0)
    assert.strictEqual((await cli('retrieve', '-f', `${path}/f`, '--socket', socket)).code, 0)
    assert.strictEqual(await daemon.stop(), 0)
  })

  test('a config that does not hold is refused, with the reason, and the old one stays', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    await mkdir(`${path}/other`)
    const daemon = await startDaemon(stack, config)
    const socket = `${path}/stor.sock`
    const text = await readFile(config, 'utf8')
    const refused = async (changed: string) => {
      await writeFile(config, changed)
      const { code, stderr } = await cli('reload', '--socket', socket)
      assert.strictEqual(code, 1)
      return stderr
    }
    assert.match(await refused(text.replace('expected_shards = 6', 'expected_shards = 7')), /only 6 data backends/)
    assert.match(await refused(text.replace('minimal_shards', 'minimal_shard')), /did you mean minimal_shards/)
    assert.match(await refused(text.replaceAll('"meta', '"other')), /none of the metadata backends is left/)
    // It is only when the store is opened that the secret turns out to be another one.
    await writeFile(`${path}/wrong`, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
    const wrong = await refused(text.replace(`${path}/master`, `${path}/wrong`))
    assert.match(wrong, /the config is not taken, the store does not open with it: /)
    const status = (await askControl(socket, 'status')) as StatusResult
    assert.deepStrictEqual([status.n, status.writable], [6, true])
    await writeFile(`${path}/f`, 'f')
    assert.strictEqual((await cli('store', '-f', `${path}/f`, '--socket', socket)).code, 0)
    process.kill(daemon.pid, 'SIGUSR1')
    await daemon.waitForLine(/config\.not_reloaded/)
    assert.strictEqual((await cli('reload', '-c', `${path}/qsfs.toml`, '--socket', `${path}/nobody`)).code, 2)
  })
})
