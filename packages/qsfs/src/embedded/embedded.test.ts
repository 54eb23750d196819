import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MiB } from '@qsfs/bytes/units'
import { ConfigError, readSection } from '@qsfs/config/load'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { type EffectiveConfigOptions, effectiveConfig } from './effective-config.ts'
import { makeSocketDirectory, makeStateDirectory, stateDirectory } from './state-directory.ts'
import { formatSection, keyOnLine } from './toml-lines.ts'

test('a section is written one key per line, and read back as it was', async () => {
  const values = {
    path: '/a "quoted" \\ path\n\u007f',
    count: 5,
    isOn: true,
    sizes: [1, 'x'],
    'odd key': 1,
    groups: [{ backends: [{ address: 'unix:/run/x.sock' }, {}] }],
  }
  await using tmp = await temporaryDirectory()
  const file = join(tmp.path, 'x.toml')
  writeFileSync(file, formatSection('stor', values))
  const section = readSection(file, 'stor')
  assert.deepEqual(section.values, values)
  for (const key of Object.keys(values)) {
    const line = Number(section.positionOf([key]).split(':').at(-1))
    assert.equal(keyOnLine(values, line), key)
  }
  assert.equal(keyOnLine(values, 1), undefined)
})

/** The effective config of a user's file. */
async function effective(text: string | null, flags: Partial<EffectiveConfigOptions> = {}) {
  await using tmp = await temporaryDirectory()
  const configPath = text === null ? undefined : join(tmp.path, 'qsfs.toml')
  if (configPath !== undefined) writeFileSync(configPath, text!)
  const state = stateDirectory(tmp.path)
  const hookPath = '/opt/hook'
  return effectiveConfig({
    state,
    socketDirectory: '/run/q',
    hookPath,
    configPath,
    mountpoint: undefined,
    transport: undefined,
    ...flags,
  })
}

test('the embedded default: six backends in three groups, 4 of 6, records 2 of 6', async () => {
  const config = await effective(null)
  assert.deepEqual(
    config.backends.map(({ name, values }) => [name, values.socket]),
    [1, 2, 3, 4, 5, 6].map(n => [`backend-${n}`, `/run/q/backend-${n}.sock`]),
  )
  const { groups, meta, minimal_shards, expected_shards, master_key_file } = config.stor.values as {
    groups: { backends: { address: string; namespace: string }[] }[]
    meta: { config: { backends: { address: string; namespace: string }[] } }
    minimal_shards: number
    expected_shards: number
    master_key_file: string
  }
  assert.deepEqual(
    groups.map(({ backends }) => backends.map(({ address }) => address)),
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ].map(group => group.map(n => `unix:/run/q/backend-${n}.sock`)),
  )
  assert.ok(meta.config.backends.every(({ namespace }) => namespace === 'meta') && meta.config.backends.length === 6)
  assert.deepEqual([minimal_shards, expected_shards], [4, 6])
  assert.equal(config.masterKeyPath, master_key_file)
  assert.equal(config.cachedbAddress, 'unix:/run/q/cachedb.sock')
  assert.equal(config.fs.values.cachedb, config.cachedbAddress)
  assert.equal(config.cachedb.values.stor_socket, config.storSocket)
  assert.ok(config.cacheBytesMax > 0 && config.cacheBytesMax % MiB === 0)
  assert.deepEqual(
    [config.transport, config.mountpoint],
    ['kernel', join(process.env.INIT_CWD ?? process.cwd(), 'mnt')],
  )
})

test("the user's file wins over the default, flags over both, and lines are those of the user's file", async () => {
  const text = '[fs]\nmount = "/srv/a"\npoll_us = 0\n\n[cachedb]\ncache_bytes = "96MiB"\n'
  const config = await effective(text, { mountpoint: '/srv/b' })
  assert.equal(config.mountpoint, '/srv/b')
  assert.equal(config.fs.values.poll_us, 0)
  assert.equal(config.cacheBytesMax, 96 * MiB)
  const positions = Object.keys(config.fs.values).map((key, index) => [
    key,
    config.fs.userPosition(index + 2)?.replace(/.*\//, '') ?? null,
  ])
  const ofUser = Object.fromEntries(positions.filter(([, position]) => position !== null))
  assert.deepEqual(ofUser, { poll_us: 'qsfs.toml:3' })
})

test('own backends replace the local ones; own keys need no secret file', async () => {
  const zstor = 'minimal_shards = 1\nexpected_shards = 2\ngroups = []\nencryption = { algorithm = "AES", key = "00" }\n'
  const config = await effective(zstor)
  assert.deepEqual(config.backends, [])
  assert.equal(config.masterKeyPath, null)
  assert.equal(config.stor.values.expected_shards, 2)
  await assert.rejects(effective('[fs\n'), ConfigError)
})

test('directories are private, and those of others are refused', async t => {
  await using tmp = await temporaryDirectory()
  const state = stateDirectory(join(tmp.path, 'a', 'state'))
  makeStateDirectory(state)
  assert.equal(statSync(state.path).mode & 0o777, 0o700)
  makeStateDirectory(state)
  writeFileSync(join(tmp.path, 'file'), '')
  assert.throws(() => makeStateDirectory(stateDirectory(join(tmp.path, 'file'))), {
    exitCode: 2,
    message: /is not a directory/,
  })

  const environment = { XDG_RUNTIME_DIR: tmp.path }
  const sockets = makeSocketDirectory(state.path, environment)
  const others = makeSocketDirectory(`${state.path}2`, environment)
  t.after(() => [sockets, others].map(path => rmSync(path, { recursive: true })))
  assert.match(sockets, /\/qsfs-[0-9a-f]{8}$/)
  assert.equal(statSync(sockets).mode & 0o777, 0o700)
  assert.equal(makeSocketDirectory(state.path, environment), sockets)
  assert.notEqual(others, sockets)
})

test('a socket directory that is a link or open to others is refused', async t => {
  await using tmp = await temporaryDirectory()
  const statePath = `/some/state/of/${t.name}/${tmp.path}`
  const sockets = makeSocketDirectory(statePath, {})
  t.after(() => rmSync(sockets, { recursive: true, force: true }))
  chmodSync(sockets, 0o755)
  assert.throws(() => makeSocketDirectory(statePath, {}), { exitCode: 1, message: /open to others/ })
  rmSync(sockets, { recursive: true })
  mkdirSync(join(tmp.path, 'elsewhere'))
  symlinkSync(join(tmp.path, 'elsewhere'), sockets)
  assert.throws(() => makeSocketDirectory(statePath, {}), { exitCode: 2, message: /is not a directory/ })
})
