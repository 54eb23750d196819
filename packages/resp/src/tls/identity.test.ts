import { equal, match, throws } from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { makeCertificate } from '../testing/certificates.ts'
import { readIdentity, TlsUnusable } from './identity.ts'

test('a certificate and its key; what is wrong with them is said in one sentence', async () => {
  await using directory = await temporaryDirectory()
  const { certificatePath, keyPath } = makeCertificate(directory.path, 'one')
  const identity = readIdentity(certificatePath, keyPath)
  match(identity.sha256, /^[0-9a-f]{64}$/)
  equal(String(identity.key), readFileSync(keyPath, 'utf8'))

  const other = makeCertificate(directory.path, 'other')
  const none = join(directory.path, 'none')
  const text = join(directory.path, 'text')
  writeFileSync(text, 'this is no PEM\n', { mode: 0o600 })
  const sentences: [string, string, string][] = [
    [none, keyPath, `tls_cert: ${none} does not exist`],
    [
      directory.path,
      keyPath,
      `tls_cert: ${directory.path} cannot be read: EISDIR: illegal operation on a directory, read`,
    ],
    [text, keyPath, `tls_cert: ${text} holds no certificate (PEM)`],
    [keyPath, keyPath, `tls_cert: ${keyPath} holds no certificate (PEM)`],
    [certificatePath, none, `tls_key: ${none} does not exist`],
    [certificatePath, text, `tls_key: ${text} holds no private key without a passphrase (PEM)`],
    [
      certificatePath,
      other.keyPath,
      `tls_key: ${other.keyPath} is not the key of the certificate in ${certificatePath}`,
    ],
  ]
  for (const [certificate, key, message] of sentences) {
    throws(
      () => readIdentity(certificate, key),
      (error: unknown) => error instanceof TlsUnusable && error.message === message && error.exitCode === 2,
    )
  }
})

test('a key that others can read is refused, one for a group is not', async () => {
  await using directory = await temporaryDirectory()
  const { certificatePath, keyPath } = makeCertificate(directory.path, 'one')
  for (const mode of [0o644, 0o604, 0o660]) {
    chmodSync(keyPath, mode)
    throws(() => readIdentity(certificatePath, keyPath), {
      message: `tls_key: ${keyPath} is open to others (mode ${mode.toString(8)}): chmod 600 it`,
    })
  }
  chmodSync(keyPath, 0o640)
  readIdentity(certificatePath, keyPath)
})
