import assert from 'node:assert'
import { writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { loadStorConfig } from './config.ts'

const ZSTOR = `
minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 0
root = "/mnt/qsfs"
socket = "/tmp/zstor.sock"
prometheus_port = 9100
zdb_data_dir_path = "/tmp/zdbfs/data/zdbfs-data"
max_zdb_data_dir_size = 2560
[encryption]
algorithm = "AES"
key = "${'0a'.repeat(32)}"
[compression]
algorithm = "snappy"
[meta]
type = "zdb"
[meta.config]
prefix = "someprefix"
[meta.config.encryption]
algorithm = "AES"
key = "${'0A'.repeat(32)}"
${[1, 2, 3, 4].map(i => `[[meta.config.backends]]\naddress = "[2a02:1802:5e::${i}]:9900"\nnamespace = "meta"\npassword = "secret"\n`).join('')}
[[groups]]
${[1, 2, 3, 4].map(i => `[[groups.backends]]\naddress = "127.0.0.1:99${i}0"\nnamespace = "data${i}"\npassword = "secret"\n`).join('')}
`

async function load(text: string) {
  await using directory = await temporaryDirectory()
  const path = `${directory.path}/stor.toml`
  await writeFile(path, text)
  return loadStorConfig(path)
}
async function refusal(text: string): Promise<string> {
  try {
    await load(text)
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

describe('[stor]', () => {
  test('takes a write quorum between k + 1 and n, and says why no other', async () => {
    const withQuorum = (quorum: number) => `write_quorum = ${quorum}\n${ZSTOR}`
    assert.strictEqual((await load(ZSTOR)).writeQuorum, 3)
    assert.strictEqual((await load(withQuorum(4))).writeQuorum, 4)
    assert.match(
      await refusal(withQuorum(2)),
      /write_quorum: 2 is not between 3 and 4: fewer leave nothing that may be/,
    )
    assert.match(await refusal(withQuorum(5)), /write_quorum: 5 is not between 3 and 4: there are no more shards/)
  })

  test('takes a zstor file as it is', async () => {
    const config = await load(ZSTOR)
    assert.deepStrictEqual(config.redundancy, { k: 2, n: 4, redundantGroups: 0, redundantNodes: 0 })
    assert.strictEqual(config.metaDataShards, 2)
    assert.strictEqual(config.metaPrefix, 'someprefix')
    assert.strictEqual(config.groups[0]?.[0]?.name, '127.0.0.1:9910 data1')
    assert.strictEqual(config.metaBackends[0]?.password, 'secret')
    assert.deepStrictEqual(config.master, { kind: 'inline', key: Buffer.alloc(32, 0x0a) })
    assert.deepStrictEqual(
      config.remarks.map(text => text.split(':')[0]),
      ['compression.algorithm', 'zdb_data_dir_path'],
    )
    assert.deepStrictEqual(config.metricsListen, { host: '127.0.0.1', port: 9100 })
    assert.strictEqual(config.compress, true)
  })

  test('compressing can be turned off', async () => {
    const { compress, remarks } = await load(ZSTOR.replace('snappy', 'none'))
    assert.strictEqual(compress, false)
    assert.ok(!remarks.some(text => text.startsWith('compression')))
  })

  test('metrics_listen goes before prometheus_port, and no address is none', async () => {
    const both = await load(ZSTOR.replace('prometheus_port', 'metrics_listen = "[::]:9200"\nprometheus_port'))
    assert.deepStrictEqual(both.metricsListen, { host: '::', port: 9200 })
    assert.ok(both.remarks.some(text => text.startsWith('prometheus_port')))
    assert.strictEqual((await load(ZSTOR.replace('prometheus_port = 9100', ''))).metricsListen, null)
    assert.match(await refusal(ZSTOR.replace('prometheus_port = 9100', 'metrics_listen = "9100"')), /is not host:port/)
  })

  test('takes what quantumd writes: no root, and every other key there is', async () => {
    const every = ZSTOR.replace(
      'root = "/mnt/qsfs"',
      'root = ""\nzdbfs_mountpoint = "/mnt/qsfs"\npid_file = "/run/zstor.pid"',
    )
    const config = await load(every)
    assert.deepStrictEqual([config.root, config.pidFile, config.socket], [null, '/run/zstor.pid', '/tmp/zstor.sock'])
    assert.ok(config.remarks.some(text => text.startsWith('zdbfs_mountpoint')))
  })

  test("zstor's second key is needed too when it differs", async () => {
    const other = await load(ZSTOR.replace('0A'.repeat(32), 'bb'.repeat(32)))
    assert.notDeepStrictEqual(other.master, { kind: 'inline', key: Buffer.alloc(32, 0x0a) })
  })

  test('the example works', () => {
    const config = loadStorConfig(new URL('../example.toml', import.meta.url).pathname)
    assert.strictEqual(config.groups.length, 3)
    assert.strictEqual(config.metaBackends.length, 6)
    assert.strictEqual(config.downAfterMs, 10_000)
  })

  test('names the key, the line and the nearest right key', async () => {
    assert.match(await refusal(ZSTOR.replace('expected_shards', 'expected_shard')), /stor\.toml:3: .*expected_shards\?/)
    assert.match(await refusal(ZSTOR.replace('namespace = "data2"', 'name_space = "x"')), /namespace/)
  })

  test('refuses a promise that cannot be kept, with the reason', async () => {
    assert.match(await refusal(ZSTOR.replace('expected_shards = 4', 'expected_shards = 5')), /only 4 data backends/)
    assert.match(await refusal(ZSTOR.replace('expected_shards = 4', 'expected_shards = 2')), /must be greater/)
    assert.match(await refusal(ZSTOR.replace('redundant_groups = 0', 'redundant_groups = 1')), /of 1 group,/)
    assert.match(await refusal(ZSTOR.replace('redundant_nodes = 0', 'redundant_nodes = 3')), /can leave 1 shard,/)
  })

  test('refuses the same place twice, and addresses it cannot reach', async () => {
    assert.match(await refusal(ZSTOR.replaceAll('127.0.0.1:9920', '127.0.0.1:9910').replace('data2', 'data1')), /twice/)
    assert.match(await refusal(ZSTOR.replace('127.0.0.1:9910', 'tls://unix:/path')), /is none of/)
    assert.match(await refusal(ZSTOR.replace('127.0.0.1:9910', '127.0.0.1')), /is none of/)
  })

  test('takes addresses behind TLS, and one way to trust them', async () => {
    const sha256 = 'AB'.repeat(32)
    const first = 'address = "127.0.0.1:9910"\n'
    const withTls = (keys: string, address = 'tls://[2a02::1]:9910') =>
      ZSTOR.replace(first, `address = "${address}"\n${keys}`)
    const colons = sha256.replace(/..(?!$)/g, '$&:')
    const [backend] = (await load(withTls(`tls_fingerprint = "${colons}"\n`))).groups[0]!
    assert.strictEqual(backend?.address, 'tls://[2a02::1]:9910')
    assert.strictEqual(backend.tlsFingerprint, sha256.toLowerCase())
    const pinned = `tls_fingerprint = "${sha256}"\n`
    assert.match(
      await refusal(withTls(pinned, '127.0.0.1:9910')),
      /tls_fingerprint and tls_ca_file need an address tls:/,
    )
    assert.match(await refusal(withTls(`${pinned}tls_ca_file = "/ca.pem"\n`)), /give one of them/)
    assert.match(
      await refusal(withTls('tls_fingerprint = "abc"\n')),
      /is not the SHA-256 of a certificate, 64 hex digits/,
    )
  })

  test('wants to know where the master secret is', async () => {
    assert.match(await refusal(ZSTOR.replace(/\[encryption\][^[]*/, '')), /master_key_file: is missing/)
  })

  test('relative paths of backends count from where the command was typed', async () => {
    const { groups, metaBackends } = loadStorConfig(new URL('../example.toml', import.meta.url).pathname)
    const typedIn = process.env.INIT_CWD ?? process.cwd()
    assert.strictEqual(groups[0]?.[0]?.address, `dir:${typedIn}/qsfs-example/stor/one`)
    assert.strictEqual(metaBackends[5]?.address, `dir:${typedIn}/qsfs-example/stor/six`)
  })
})
