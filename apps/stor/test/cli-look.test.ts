import assert from 'node:assert'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { cli, json, startDaemon } from './cli-fixture.ts'
import { directoryStore } from './store-fixture.ts'

describe('stor plan', () => {
  test('explains a config before it is used, and that of the daemon; refuses what cannot be kept', async () => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack)
    const text = (await readFile(config, 'utf8')).replace('[[stor.groups]]', '[[stor.groups]]\nname = "eu-1"')
    await writeFile(config, text)
    const planned = await cli('plan', '-c', config)
    assert.strictEqual(planned.code, 0)
    assert.match(planned.stdout, /^survives any 2 backends, or any 1 group; group \S+ is the tightest$/m)
    assert.match(planned.stdout, /^capacity: about \d.* more$/m)
    assert.match(planned.stdout, /^group eu-1: 2 backends, up to 2 shards of an object, \d.* free$/m)
    assert.strictEqual(existsSync(`${path}/master`), false, 'it makes nothing')
    await startDaemon(stack, config)
    await rm(`${path}/data3`, { recursive: true })
    const next = `${path}/next.toml`
    await writeFile(next, text.replace('expected_shards = 6', 'expected_shards = 5'))
    const refused = await cli('plan', '-c', next)
    assert.deepStrictEqual([refused.code, /can leave 3 shards, fewer than/.test(refused.stderr)], [2, true])
    await writeFile(next, text.replace('minimal_shards = 4', 'minimal_shards = 3'))
    const plan = await json('plan', '-c', next)
    assert.deepStrictEqual([plan.k, plan.capacityBytes, plan.unknownBackends], [3, null, ['data3']])
    assert.strictEqual((await json('plan', '--socket', `${path}/stor.sock`)).k, 4)
  })
})
