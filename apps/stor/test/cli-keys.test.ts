import assert from 'node:assert'
import { copyFile, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { cli, json, run, startDaemon } from './cli-fixture.ts'
import { directoryStore } from './store-fixture.ts'

const CLI = new URL('../src/cli.ts', import.meta.url).pathname
const PASSPHRASE = 'correct horse battery staple'

/** Fails when any of the texts holds a secret, or a part of one that is long enough to tell. */
function assertSilent(secrets: readonly string[], ...texts: readonly string[]) {
  for (const text of texts) {
    for (const secret of secrets) assert.ok(!text.includes(secret), 'a secret was printed')
  }
}

describe('secrets, by the command', () => {
  test('rotate-key, also --deep, beside a daemon and without one; nothing secret is printed', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const digitsOf = async (file: string) => /[0-9a-f]{8}(-[0-9a-f]{8}){7}/.exec(await readFile(file, 'utf8'))![0]
    const daemon = await startDaemon(stack, config)
    await writeFile(`${path}/f`, 'hello')
    await cli('store', '-f', `${path}/f`, '-c', config)
    const first = await digitsOf(`${path}/master`)
    await copyFile(`${path}/master`, `${path}/old`)
    const rotated = await cli('rotate-key', '-c', config)
    assert.deepStrictEqual([rotated.code, rotated.stdout], [0, 'done; the store has 1 root key\n'])
    const deep = await cli('rotate-key', '--deep', '-c', config)
    assert.deepStrictEqual([deep.code, deep.stdout], [0, 'done; the store has 2 root keys\n'])
    const second = await digitsOf(`${path}/master`)
    assert.notStrictEqual(first, second)
    assert.strictEqual((await stat(`${path}/master`)).mode & 0o777, 0o600)
    await daemon.stop()

    const alone = await cli('rotate-key', '--deep', '-c', config)
    assert.strictEqual(alone.stdout, 'done; the store has 3 root keys\n')
    const status = await json('status', '-c', config)
    assert.deepStrictEqual([status.rootKeyCount, status.fillingBackends, status.rewrapping], [3, [], null])
    await rm(`${path}/f`)
    assert.strictEqual((await cli('retrieve', '-f', `${path}/f`, '-c', config)).code, 0)
    assert.strictEqual(await readFile(`${path}/f`, 'utf8'), 'hello')

    await copyFile(`${path}/old`, `${path}/master`)
    const wrong = await cli('check', '-f', `${path}/f`, '-c', config)
    assert.deepStrictEqual([wrong.code, wrong.stdout], [1, ''])
    assert.match(wrong.stderr, /the master secret is not the one this store was made with/)
    const words = [first, second].flatMap(digits => [digits, digits.replaceAll('-', ''), ...digits.split('-')])
    const printed = [rotated, deep, alone, wrong].flatMap(({ stdout, stderr }) => [stdout, stderr])
    assertSilent(words, ...printed, daemon.stdout, daemon.stderr, JSON.stringify(status))
  })

  test('a passphrase from a file, from the environment and from stdin; a wrong one says so and is not repeated', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const original = await readFile(config, 'utf8')
    const from = (key: string, value: string) =>
      writeFile(config, original.replace(/^master_key_file = .*$/m, `${key} = "${value}"`))
    await writeFile(`${path}/passphrase`, `${PASSPHRASE}\n`, { mode: 0o600 })
    await writeFile(`${path}/f`, 'hello')
    const printed: string[] = []
    const check = async (env: Readonly<Record<string, string>>) => {
      const ended = await run(process.execPath, [CLI, 'check', '-f', `${path}/f`, '-c', config], env)
      printed.push(ended.stdout, ended.stderr)
      return ended
    }
    await from('master_passphrase_file', `${path}/passphrase`)
    assert.strictEqual((await cli('store', '-f', `${path}/f`, '-c', config)).code, 0)
    await from('master_passphrase_env', 'QSFS_TEST_PASSPHRASE')
    assert.strictEqual((await check({ QSFS_TEST_PASSPHRASE: PASSPHRASE })).code, 0)
    const wrong = await check({ QSFS_TEST_PASSPHRASE: `not ${PASSPHRASE}` })
    assert.deepStrictEqual([wrong.code, wrong.stdout], [1, ''])
    assert.match(wrong.stderr, /the passphrase is not the one this store was made with/)
    await from('master_passphrase_file', '/dev/stdin')
    const command = `cat ${path}/passphrase | ${process.execPath} ${CLI} check -f ${path}/f -c ${config}`
    const piped = await run('sh', ['-c', command])
    assert.deepStrictEqual([piped.code, piped.stdout], [0, '46fb7408d4f285228f4af516ea25851b\n'])
    assertSilent(['horse', 'staple'], ...printed, piped.stderr)
  })

  test('two places for the secret are a mistake of the config', async () => {
    await using stack = new AsyncDisposableStack()
    const { config } = await directoryStore(stack, { master_passphrase_env: 'X' })
    const { code, stderr } = await cli('status', '-c', config)
    assert.strictEqual(code, 2)
    assert.match(stderr, /the master secret is in one place/)
  })
})
