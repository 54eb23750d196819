import assert from 'node:assert'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { askControl } from '@qsfs/daemon/control'
import type { JobsResult } from '@qsfs/protocol/stor-control'
import { cli, json, startDaemon } from './cli-fixture.ts'
import { directoryStore, until } from './store-fixture.ts'

/** Takes data backends away, or brings them back. */
async function move(path: string, to: 'away' | 'back') {
  for (const i of [1, 2, 3]) {
    const [here, there] = [`${path}/data${i}`, `${path}/away${i}`]
    await rename(...((to === 'away' ? [here, there] : [there, here]) as [string, string]))
  }
}

const jobsOf = async (path: string) => (await askControl(`${path}/stor.sock`, 'jobs')) as JobsResult

describe('stores that nobody waits for', () => {
  test('outlive kill -9 and the loss of backends', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { create_namespaces: false })
    const killed = await startDaemon(stack, config)
    await move(path, 'away')
    await mkdir(`${path}/in`)
    for (const name of ['a', 'b']) await writeFile(`${path}/in/${name}`, name)
    const queued = await cli('store', '-f', `${path}/in`, '-c', config, '-n', '-d')
    assert.match(queued.stdout, /^queued 1 {2}\S+\/in\/a\nqueued 2 {2}\S+\/in\/b\n$/)
    await writeFile(`${path}/f`, 'f')
    const failed = await cli('store', '-f', `${path}/f`, '-c', config, '--save-failure')
    assert.strictEqual(failed.code, 1)
    assert.match(failed.stderr, /at least 5 must be: .*; remembered as job 3\n$/)
    const absent = await cli('store', '-f', `${path}/none`, '-c', config, '-n')
    assert.deepStrictEqual([absent.code, /cannot read/.test(absent.stderr)], [1, true])
    await killed.kill9()

    const daemon = await startDaemon(stack, config)
    await until(async () => (await jobsOf(path)).failingCount === 3)
    // Between two attempts, all of them: one may just be under way.
    const says = async (verb: string, what: RegExp) => what.test((await cli(verb, '-c', config)).stdout)
    await until(() => says('status', /jobs: 3 wait, 0 are done now; 3 failed and are tried/))
    await until(() => says('jobs', /^1 {2}waiting {2}\S+\/in\/a, \d+ attempts?, next in/))
    assert.strictEqual((await cli('jobs', '--drop', '2', '-c', config)).code, 0)
    await move(path, 'back')
    await until(async () => (await jobsOf(path)).jobs.length === 0)
    const exist = ['in/a', 'in/b', 'f'].map(name => existsSync(`${path}/${name}`))
    assert.deepStrictEqual(exist, [false, true, true])
    for (const [name, isFound] of [
      ['in/a', true],
      ['in/b', false],
      ['f', true],
    ] as const) {
      assert.strictEqual((await json('check', '-f', `${path}/${name}`, '-c', config)).found, isFound)
    }
    assert.deepStrictEqual(await readdir(`${path}/stor.sock.jobs`), [])
    assert.strictEqual(await daemon.stop(), 0)
  })

  test('without a daemon --notblocking is done at once, and a failure waits for one', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { create_namespaces: false })
    await writeFile(`${path}/f`, 'f')
    assert.match((await cli('store', '-n', '-f', `${path}/f`, '-c', config)).stdout, /^stored /)
    await move(path, 'away')
    await writeFile(`${path}/g`, 'g')
    assert.match((await cli('store', '-s', '-f', `${path}/g`, '-c', config)).stderr, /remembered as job 1\n$/)
    await move(path, 'back')
    await startDaemon(stack, config)
    await until(async () => (await jobsOf(path)).jobs.length === 0)
    assert.strictEqual((await json('check', '-f', `${path}/g`, '-c', config)).found, true)
  })
})
