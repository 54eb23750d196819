import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { RespClient } from '@qsfs/resp/client'
import { makeCertificate } from '@qsfs/resp/testing/certificates'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess } from './cachedb-process.ts'

const main = join(import.meta.dirname, '../src/main.ts')

test('TLS beside the socket: a client pins the certificate that the log names', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const { certificatePath, keyPath } = makeCertificate(directory.path, 'server')
  const keys = { tls_listen: '127.0.0.1:0', tls_cert: certificatePath, tls_key: keyPath, idle_timeout: '1h' }
  const cachedb = await CachedbProcess.start(t, keys)
  const [line] = await cachedb.process.waitForLine(/.*"tls\.served".*/)
  const { port, certificateSha256, groups } = JSON.parse(line)
  deepEqual(groups, ['X25519MLKEM768', 'SecP384r1MLKEM1024', 'SecP256r1MLKEM768'])
  await using remote = await RespClient.connect({ address: `tls://127.0.0.1:${port}`, tls: { certificateSha256 } })
  equal(remote.tlsPeer?.group, 'X25519MLKEM768')
  await using local = await cachedb.client()
  const value = Buffer.alloc(3_000_000, 'large value ')
  equal(String(await remote.call('SET', 'k', value)), 'k')
  ok(value.equals((await local.call('GET', 'k')) as Buffer))
  ok(value.equals((await remote.call('GET', 'k')) as Buffer))
})

test('what is wrong with the keys of TLS is one sentence, and exit code 2', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const { certificatePath, keyPath } = makeCertificate(directory.path, 'server')
  const other = makeCertificate(directory.path, 'other')
  const listen = { tls_listen: '127.0.0.1:0' }
  const both = { ...listen, tls_cert: certificatePath }
  const cases: [Record<string, unknown>, RegExp][] = [
    [listen, /\[cachedb\] tls_listen needs tls_cert\n.*\[cachedb\] tls_listen needs tls_key$/],
    [{ ...both, tls_key: other.keyPath }, /tls_key: .* is not the key of the certificate in/],
    [{ ...both, tls_key: keyPath, tls_groups: ['X25519MLKEM'] }, /\[cachedb\] tls_groups\[0\]: /],
  ]
  await Promise.all(
    cases.map(async ([keys, sentence], index) => {
      const place = join(directory.path, String(index))
      mkdirSync(place)
      equal(await refusal(t, place, keys, sentence), 2)
    }),
  )
})

async function refusal(
  t: TestContext,
  place: string,
  keys: Record<string, unknown>,
  sentence: RegExp,
): Promise<number | string> {
  const all = { data_dir: join(place, 'data'), socket: join(place, 'cachedb.sock'), ...keys }
  const lines = Object.entries(all).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
  const configPath = join(place, 'qsfs.toml')
  writeFileSync(configPath, `[cachedb]\n${lines.join('')}`)
  const process_ = spawnProcess(process.execPath, [main, '--config', configPath])
  t.after(() => process_[Symbol.asyncDispose]())
  const code = await process_.exited
  match(process_.stderr.trimEnd(), sentence)
  return code
}
