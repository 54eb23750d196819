import { equal, match, ok, rejects } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { exportAll } from '../../src/export-command.ts'
import { CachedbProcess } from '../cachedb-process.ts'
import { freshDescriptor, sequentialNamespace, userNamespace, vaultDescriptor } from './golden.ts'
import { readZdb } from './zdb-reader.ts'

const cli = join(import.meta.dirname, '../../src/cli.ts')

function cachedb(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

test('what can be asked: help and version; what is not known ends with 2 and says what is', () => {
  for (const [args, pattern] of [
    [['--help'], /^usage: cachedb \[--config FILE\]/],
    [['--version'], /^\d+\.\d+\.\d+\n$/],
    [['export', '--help'], /^usage: cachedb export .*--to DIR/],
  ] as const) {
    const { status, stdout, stderr } = cachedb(...args)
    equal(status, 0, stderr)
    match(stdout, pattern)
  }
  for (const args of [
    ['--nonsense'],
    ['export', '--config', 'x'],
    ['export', '--config', 'x', '--data', 'y', '--to', '/x'],
  ]) {
    const { status, stderr } = cachedb(...args)
    equal(status, 2, args.join(' '))
    match(stderr, /^cachedb: .*\nusage: cachedb/)
  }
})

/** Roots as 0-db leaves them, with namespaces of both modes. */
function makeRoots(directory: string): void {
  const { d0, d1, i0, i1 } = userNamespace
  const files = {
    'data/default/d0': d0,
    'data/default/d1': d1,
    'index/default/i0': i0,
    'index/default/i1': i1,
    'index/default/zdb-namespace': freshDescriptor,
    'data/vault/d0': sequentialNamespace.d0,
    'index/vault/i0': sequentialNamespace.i0,
    'index/vault/zdb-namespace': vaultDescriptor,
  }
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(join(directory, name, '..'), { recursive: true })
    writeFileSync(join(directory, name), bytes)
  }
}

test('from 0-db and back: a data root is served as it is, its locks are held, and an export is what 0-db opens', async t => {
  const temporary = await temporaryDirectory()
  t.after(() => temporary[Symbol.asyncDispose]())
  const roots = temporary.path
  makeRoots(roots)
  const index = join(roots, 'index')
  const server = await CachedbProcess.start(t, { data_dir: join(roots, 'data'), zdb_index_dir: index })
  const client = await server.raw()
  equal(await client.ask('GET', 'n'), '$yz')
  equal(await client.ask('KEYTIME', 'k'), ':1700000004')
  equal(await client.ask('SELECT', 'vault'), '-Namespace protected and private')
  equal(await client.ask('SELECT', 'vault', 'secret'), '+OK')
  equal(await client.ask('GET', Buffer.from('0300000000000000', 'hex')), '$three')
  equal(await client.ask('SET', '', 'new'), '$\x04\0\0\0\0\0\0\0')
  // 0-db takes these locks when it starts, and ends when it does not get them.
  for (const root of ['data', 'index'])
    equal(spawnSync('flock', ['-xn', join(roots, root, '.lockfile'), 'true']).status, 1)

  const config = join(server.directory, 'qsfs.toml')
  const target = join(roots, 'out')
  const refused = cachedb('export', '--config', config, '--to', target)
  equal(refused.status, 1)
  match(refused.stderr, /is in use by another process/)
  equal(await server.process.stop(), 0)

  const { status, stdout, stderr } = cachedb('export', '--config', config, '--to', target)
  equal(status, 0, stderr)
  equal(stdout, 'default: 2 keys, 3 bytes of values\nvault: 3 keys, 13 bytes of values\n')
  equal(readdirSync(target).sort().join(), 'data,index')
  const vault = readZdb(name => readIfThere(join(target, name.startsWith('d') ? 'data' : 'index', 'vault', name)))
  equal(vault.nextId, 5)
  equal([...vault.values.values()].map(({ value }) => value).join(), 'ZERO2,three,new')
  ok(vault.descriptor.equals(vaultDescriptor.subarray(0, 26)))
  const again = (namespaces: readonly string[]) => exportAll({ source: { config }, namespaces, target }, () => {})
  await rejects(again([]), /is not empty/)
  await rejects(again(['no']), /no namespace no/)
})

test('the other way round: what 0-db has locked is not opened', async t => {
  const temporary = await temporaryDirectory()
  t.after(() => temporary[Symbol.asyncDispose]())
  makeRoots(temporary.path)
  const data = join(temporary.path, 'data')
  const index = join(temporary.path, 'index')
  const config = join(temporary.path, 'qsfs.toml')
  const write = (indexRoot: string) =>
    writeFileSync(
      config,
      `[cachedb]\ndata_dir = "${data}"\nzdb_index_dir = "${indexRoot}"\nsocket = "${temporary.path}/s"\n`,
    )
  write(index)
  for (const root of [data, index]) {
    const lock = join(root, '.lockfile')
    await using zdb = spawnProcess('flock', ['-xnF', lock, 'sh', '-c', 'echo locked; exec sleep 60'])
    await zdb.waitForLine(/locked/)
    const { status, stderr } = cachedb('--config', config)
    equal(status, 1)
    ok(stderr.includes(`is in use by another process (it holds ${lock})`), stderr)
  }
  write(join(temporary.path, 'nowhere'))
  const { status, stderr } = cachedb('--config', config)
  equal(status, 2)
  match(stderr, /is no index root of 0-db/)
  ok(!readdirSync(join(data, 'vault')).includes('manifest'))
})

function readIfThere(path: string): Buffer | null {
  try {
    return readFileSync(path)
  } catch {
    return null
  }
}
