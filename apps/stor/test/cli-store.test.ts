import assert from 'node:assert'
import { existsSync } from 'node:fs'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { cli, json, run, startDaemon } from './cli-fixture.ts'
import { directoryStore } from './store-fixture.ts'

const CLI = new URL('../src/cli.ts', import.meta.url).pathname

describe('stor store', () => {
  test('a directory: the regular files in it, and those after one that fails', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const directory = `${path}/in`
    await mkdir(`${directory}/below`, { recursive: true })
    await writeFile(`${directory}/below/deep`, 'not stored')
    await symlink(config, `${directory}/link`)
    for (const name of ['a', 'c']) await writeFile(`${directory}/${name}`, name)
    // A name that no record takes: longer than 4096 bytes with the path of -k before it.
    await writeFile(`${directory}/${'b'.repeat(200)}`, 'b')
    const keyed = ['-k', `/${'k'.repeat(4000)}`]

    const stored = await cli('-c', config, 'store', '-f', directory, ...keyed)
    assert.strictEqual(stored.code, 1)
    assert.match(stored.stdout, /^stored [0-9a-f]{32} {2}\S+\/in\/a\nstored [0-9a-f]{32} {2}\S+\/in\/c\n$/)
    assert.match(stored.stderr, /^stor: \S+\/in\/b+: name: .*4096.*\n$/)
    assert.strictEqual((await json('check', '-c', config, '-f', `${keyed[1]}/c`)).found, true)
    assert.strictEqual((await json('check', '-c', config, '-f', `${directory}/c`)).found, false)

    const { files } = await json('store', '-c', config, '-f', directory, ...keyed, '--error-on-failure')
    assert.deepStrictEqual(
      files.map(({ answer, error }: { answer: { repeated: boolean } | null; error: { code: string } | null }) => [
        answer?.repeated,
        error?.code,
      ]),
      [
        [true, undefined],
        [undefined, 'usage'],
      ],
    )
  })

  test('-d deletes what is stored, and only that', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    await startDaemon(stack, config)
    const file = `${path}/f`
    await writeFile(file, 'hello')
    await symlink(file, `${path}/link`)
    const link = await cli('store', '-f', `${path}/link`, '-c', config, '-d')
    assert.strictEqual(link.code, 1)
    assert.match(link.stdout, /^stored [0-9a-f]{32}\n$/)
    assert.match(link.stderr, /stored, but not deleted: .*a link/)

    const stored = await cli('store', '-f', file, '-c', config, '--delete')
    assert.deepStrictEqual([stored.code, stored.stderr, existsSync(file)], [0, '', false])
    assert.strictEqual((await cli('retrieve', '-f', file, '-c', config)).code, 0)
    assert.strictEqual(await readFile(file, 'utf8'), 'hello')
  })

  test("zstor's global options stand before the command, and failures are JSON too", async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const log = `${path}/zstor.log`
    await writeFile(`${path}/f`, 'hello')
    const stored = await cli('-d', '--log_file', log, '-c', config, 'store', '-f', `${path}/f`)
    assert.deepStrictEqual([stored.code, stored.stderr], [0, ''])
    assert.match(await readFile(log, 'utf8'), /"event":"object\.placed"/)

    const absent = await cli('retrieve', '-c', config, '-f', `${path}/none`, '--json')
    assert.strictEqual(absent.code, 1)
    assert.deepStrictEqual(JSON.parse(absent.stdout), {
      error: { code: 'not-found', message: 'no metadata found for file: entity not found', retryable: false },
    })
    const unknown = await cli('store', '-f', `${path}/f`, '-c', config, '--object', 'x')
    assert.deepStrictEqual([unknown.code, /--object/.test(unknown.stderr)], [2, true])
    const unlogged = await run(process.execPath, [CLI, '--log_file', `${path}/no/log`, '-c', config, 'monitor'])
    assert.deepStrictEqual([unlogged.code, /the log file .* cannot be opened/.test(unlogged.stderr)], [2, true])
  })
})
