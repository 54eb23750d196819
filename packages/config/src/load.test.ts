import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MiB } from '@qsfs/bytes/units'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { z } from 'zod'
import { ConfigError, type ConfigSource, loadSection } from './load.ts'
import { duration, path, size } from './values.ts'

const schema = z
  .strictObject({
    segment_bytes: size({ min: 4096, max: 64 * MiB }).default(32 * MiB),
    hook_timeout: duration().default(600_000),
    data_dir: path(),
    mode: z.enum(['user', 'sequential', 'mixed']).default('mixed'),
    poll_us: z.number().int().default(100),
    groups: z
      .array(
        z.strictObject({ backends: z.array(z.strictObject({ address: z.string(), name: z.string().optional() })) }),
      )
      .default([]),
  })
  .transform(given => ({
    segmentBytes: given.segment_bytes,
    hookTimeoutMs: given.hook_timeout,
    dataDir: given.data_dir,
    mode: given.mode,
    pollUs: given.poll_us,
    groups: given.groups,
  }))

async function load(text: string, source: Partial<ConfigSource> = {}) {
  await using tmp = await temporaryDirectory()
  const file = join(tmp.path, 'qsfs.toml')
  writeFileSync(file, text)
  try {
    return loadSection(schema, { path: file, section: 'cachedb', ...source })
  } catch (error) {
    if (error instanceof ConfigError) error.message = error.message.replaceAll(file, 'qsfs.toml')
    throw error
  }
}

test('a section is read with its defaults, units and paths, and frozen', async () => {
  const config = await load(`
[fs]
mount = "elsewhere"
[cachedb]
segment_bytes = "8MiB"
hook_timeout = "90s"
data_dir = "/var/lib/qsfs"
groups = [{ backends = [{ address = "a:1" }] }]
`)
  assert.equal(config.segmentBytes, 8 * MiB)
  assert.equal(config.hookTimeoutMs, 90_000)
  assert.equal(config.dataDir, '/var/lib/qsfs')
  assert.equal(config.mode, 'mixed')
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.groups[0]?.backends[0]))
})

test('relative paths count from the directory of the caller', async () => {
  const before = process.env.INIT_CWD
  process.env.INIT_CWD = '/home/somebody'
  try {
    assert.equal((await load('[cachedb]\ndata_dir = "data"')).dataDir, '/home/somebody/data')
    delete process.env.INIT_CWD
    assert.equal((await load('[cachedb]\ndata_dir = "data"')).dataDir, join(process.cwd(), 'data'))
  } finally {
    if (before === undefined) delete process.env.INIT_CWD
    else process.env.INIT_CWD = before
  }
})

test('flags win over the file, and count without one', async () => {
  assert.equal(
    (await load('[cachedb]\ndata_dir = "/a"', { overrides: { data_dir: '/b', mode: undefined } })).dataDir,
    '/b',
  )
  assert.equal(
    loadSection(schema, { path: undefined, section: 'cachedb', overrides: { data_dir: '/b' } }).dataDir,
    '/b',
  )
  assert.throws(() => loadSection(schema, { path: undefined, section: 'cachedb' }), {
    message: '[cachedb] data_dir is missing',
  })
})

for (const [what, text, message] of [
  [
    'a wrong key names itself, its line and the nearest right one',
    '[cachedb]\ndata_dir = "/a"\n\nsegmnet_bytes = 5',
    'qsfs.toml:4: [cachedb] segmnet_bytes is not a key; did you mean segment_bytes?',
  ],
  [
    'a key far from all lists them',
    '[cachedb]\ndata_dir = "/a"\nxyzzy = 5',
    'qsfs.toml:3: [cachedb] xyzzy is not a key; known are segment_bytes, hook_timeout, data_dir, mode, poll_us, groups',
  ],
  [
    'a wrong section',
    '[cachedb]\ndata_dir = "/a"\n[store]',
    'qsfs.toml:3: store is not a section; did you mean [stor]?',
  ],
  [
    'a wrong type',
    '[cachedb]\ndata_dir = "/a"\npoll_us = "fast"',
    'qsfs.toml:3: [cachedb] poll_us: expected number, received string',
  ],
  [
    'a wrong choice',
    '[cachedb]\ndata_dir = "/a"\nmode = "both"',
    'qsfs.toml:3: [cachedb] mode: expected one of "user"|"sequential"|"mixed"',
  ],
  [
    'a wrong unit',
    '[cachedb]\ndata_dir = "/a"\nhook_timeout = "5 min"',
    'qsfs.toml:3: [cachedb] hook_timeout: "5 min" is no duration; write a number with a unit: "500ms", "10s", "2m", "24h" or "7d"',
  ],
  [
    'a size of the wrong kind',
    '[cachedb]\ndata_dir = "/a"\nsegment_bytes = true',
    'qsfs.toml:3: [cachedb] segment_bytes: is not a size such as "64MiB"',
  ],
  [
    'a size too small',
    '[cachedb]\ndata_dir = "/a"\nsegment_bytes = 12',
    'qsfs.toml:3: [cachedb] segment_bytes: is below 4 KiB',
  ],
  ['a missing key', '[fs]\n\n[cachedb]\n', 'qsfs.toml:3: [cachedb] data_dir is missing'],
  [
    'a key in a list of tables',
    '[cachedb]\ndata_dir = "/a"\n[[cachedb.groups]]\n[[cachedb.groups.backends]]\naddress = "a:1"\n[[cachedb.groups.backends]]\nadress = "a:1"',
    'qsfs.toml:6: [cachedb] groups[0].backends[1].address is missing\nqsfs.toml:7: [cachedb] groups[0].backends[1].adress is not a key; did you mean address?',
  ],
  [
    'a key in an inline table',
    '[cachedb]\ndata_dir = "/a"\ngroups = [\n  { backends = [\n    { address = 5 }] }]',
    'qsfs.toml:5: [cachedb] groups[0].backends[0].address: expected string, received number',
  ],
  ['a section that is a value', 'cachedb = 5', 'qsfs.toml:1: cachedb is a section, write [cachedb]'],
] as const) {
  test(`config errors: ${what}`, async () => {
    await assert.rejects(load(text), { constructor: ConfigError, exitCode: 2, message })
  })
}

test('config errors: syntax and files', async () => {
  await assert.rejects(load('[cachedb]\ndata_dir = '), { constructor: ConfigError, message: /^qsfs\.toml:2: / })
  assert.throws(() => loadSection(schema, { path: '/nowhere/q.toml', section: 'cachedb' }), {
    constructor: ConfigError,
    message: 'the config /nowhere/q.toml does not exist',
  })
  assert.throws(() => loadSection(schema, { path: '/', section: 'cachedb' }), {
    constructor: ConfigError,
    message: /^the config \/ cannot be read/,
  })
})

test('a zstor file is one [stor] section', async () => {
  const zstor = z.looseObject({ minimal_shards: z.number() })
  await using tmp = await temporaryDirectory()
  const file = join(tmp.path, 'zstor.toml')
  writeFileSync(file, 'minimal_shards = 2\nexpected_shards = 4\n[meta]\ntype = "zdb"\n')
  assert.deepEqual(loadSection(zstor, { path: file, section: 'stor' }), {
    minimal_shards: 2,
    expected_shards: 4,
    meta: { type: 'zdb' },
  })
  assert.deepEqual(loadSection(z.strictObject({}), { path: file, section: 'fs' }), {})
})
