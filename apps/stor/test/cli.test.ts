import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { cli, run, startDaemon } from './cli-fixture.ts'
import { directoryStore } from './store-fixture.ts'

const MAIN = new URL('../src/main.ts', import.meta.url).pathname
const HOOK = new URL('../hooks/qsfs-hook', import.meta.url).pathname

describe('stor, the command', () => {
  test('works without a daemon, unless told to ask one', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    await writeFile(`${path}/f`, 'hello')
    const refused = await cli('store', '-f', `${path}/f`, '-c', config, '--daemon')
    assert.strictEqual(refused.code, 1)
    assert.match(refused.stderr, /^stor: nobody answers at .*stor\.sock/)
    const stored = await cli('store', '-f', `${path}/f`, '-c', config)
    assert.match(stored.stdout, /^stored [0-9a-f]{32}\n$/)
    const checked = await cli('check', '-f', `${path}/f`, '-c', config)
    // b2sum --length 128 of "hello".
    assert.deepStrictEqual([checked.stdout, checked.code], ['46fb7408d4f285228f4af516ea25851b\n', 0])
  })

  test('without a daemon and without backends it says who did not answer', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    await writeFile(`${path}/f`, 'hello')
    const elsewhere = (await readFile(config, 'utf8')).replaceAll('"dir:/', '"unix:/nowhere/')
    await writeFile(config, elsewhere)
    const refused = await cli('store', '-f', `${path}/f`, '-c', config)
    assert.strictEqual(refused.code, 1)
    assert.match(refused.stderr, /^stor: .*did not answer/)
  })

  test('asks the daemon; the hook script does too', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const daemon = await startDaemon(stack, config)
    const socket = `${path}/stor.sock`
    const bytes = randomBytes(1_200_000)
    const [segment, hint] = [`${path}/d7`, `${path}/h7`]
    await writeFile(segment, bytes)
    await writeFile(hint, 'the hint')
    const hook = (environment: Record<string, string>, ...args: string[]) =>
      run(HOOK, args, { QSFS_STOR_SOCKET: socket, QSFS_HINT_PATH: hint, ...environment })

    const stored = await hook({}, 'jump-data', 'instance', segment, `${path}/d8`)
    assert.match(stored.stdout, /^stored [0-9a-f]{32}\n$/)
    const objectId = stored.stdout.slice('stored '.length).trim()
    const again = await cli('store', '-f', segment, '--attach', hint, '--socket', socket, '--json')
    assert.deepStrictEqual([JSON.parse(again.stdout).objectId, JSON.parse(again.stdout).repeated], [objectId, true])

    await rename(segment, `${path}/kept`)
    await rm(hint)
    const restored = await hook({ QSFS_OBJECT_ID: objectId }, 'missing-data', 'instance', segment)
    assert.deepStrictEqual([restored.code, restored.stderr], [0, ''])
    assert.deepStrictEqual(await readFile(segment), bytes)
    assert.strictEqual(await readFile(hint, 'utf8'), 'the hint')

    const status = JSON.parse((await cli('status', '--socket', socket, '--json')).stdout)
    assert.deepStrictEqual([status.daemon, status.objectCount, status.writable], [true, 1, true])
    assert.match((await cli('status', '--socket', socket)).stdout, /margin: 2 more data backends may be lost/)
    assert.strictEqual((await cli('test', '--socket', socket)).code, 0)

    // One writer: who cannot reach the daemon does not work beside it.
    const beside = await cli('check', '-f', segment, '-c', config, '--socket', `${path}/nobody.sock`)
    assert.match(beside.stderr, /in use by another process/)
    assert.strictEqual(beside.code, 1)

    for (let time = 0; time < 2; time++) {
      const deleted = await hook({ QSFS_OBJECT_ID: objectId }, 'segment-deleted', 'instance', segment, objectId)
      assert.strictEqual(deleted.code, 0)
    }
    const gone = await hook({ QSFS_OBJECT_ID: objectId }, 'missing-data', 'instance', segment)
    assert.strictEqual(gone.code, 1)
    assert.match(gone.stderr, /entity not found/)
    assert.strictEqual((await hook({}, 'ready', 'instance')).code, 0)

    assert.strictEqual(await daemon.stop(), 0)
    assert.strictEqual(existsSync(socket), false)
    const orphaned = await hook({}, 'jump-data', 'instance', segment, `${path}/d8`)
    assert.deepStrictEqual([orphaned.code, orphaned.stdout], [1, ''])
  })

  test('wrong usage is exit code 2, and says what is right', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    for (const args of [['stroe'], ['store', '-c', config], ['store', '--fiel', 'x'], ['status'], []]) {
      const { code, stderr } = await cli(...args)
      assert.strictEqual(code, 2, `${args} ${stderr}`)
      assert.match(stderr, /^stor: /)
    }
    await writeFile(config, (await readFile(config, 'utf8')).replace('down_after', 'down_aftr'))
    const wrong = await cli('store', '-f', `${path}/f`, '-c', config)
    assert.deepStrictEqual(wrong.code, 2)
    assert.match(wrong.stderr, /qsfs\.toml:\d+: .*down_aftr.*down_after\?/)
    assert.strictEqual((await cli('--help')).code, 0)
  })

  test('a daemon with the wrong master secret says so and ends', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const daemon = await startDaemon(stack, config)
    // A second one on the same store is refused.
    const second = await run(process.execPath, [MAIN, '--config', config])
    assert.deepStrictEqual([second.code, /in use by another process/.test(second.stderr)], [1, true])
    await daemon.stop()
    await rm(`${path}/master`)
    const { code, stderr } = await run(process.execPath, [MAIN, '--config', config])
    assert.strictEqual(code, 1)
    assert.match(stderr, /its master secret is not here/)
  })
})

test('rebuild reads all shards and writes the bad ones; status tells of repair', async () => {
  await using stack = new AsyncDisposableStack()
  const { path, config } = await directoryStore(stack)
  await writeFile(`${path}/f`, 'hello')
  await cli('store', '-f', `${path}/f`, '-c', config)
  await rm(`${path}/data3/pieces`, { recursive: true })
  const rebuilt = await cli('rebuild', '-f', `${path}/f`, '-c', config)
  assert.deepStrictEqual(
    [rebuilt.stdout, rebuilt.code],
    ['1 object: 6 shards read, 1 of them bad, 1 written\n', 0],
    rebuilt.stderr,
  )
  for (const i of [1, 2, 4]) await rm(`${path}/data${i}/pieces`, { recursive: true })
  await startDaemon(stack, config)
  const failed = await cli('rebuild', '--all', '-c', config)
  assert.strictEqual(failed.code, 1)
  assert.match(failed.stdout, /NOT whole: 1 object;.*\n {2}[0-9a-f]{32}: frame 0 has 3 good pieces, 4 are needed\n/)
  const status = await cli('status', '-c', config)
  assert.match(status.stdout, /repair: 1 object pending/)
  assert.match(status.stdout, /scrub: 0\.0 % of the round/)
  assert.strictEqual((await cli('rebuild', '--all', '-f', 'x', '-c', config)).code, 2)
})
