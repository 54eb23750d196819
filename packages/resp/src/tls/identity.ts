import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'

/** Who a server is: its certificate, chain and key as PEM. */
export interface TlsIdentity {
  readonly certificates: Buffer
  readonly key: Buffer
  /** Of the server's own certificate (DER), 64 lower-case hex digits: what clients pin. */
  readonly sha256: string
  readonly validTo: Date
}

/** The files are no identity; `message` is one sentence for people that names the key of the config. */
export class TlsUnusable extends Error {
  override readonly name = 'TlsUnusable'
  /** How a daemon ends that hears this while it starts: the request is wrong. */
  readonly exitCode = 2
}

/** Others must not read the key; a group may, as Debian's ssl-cert does. */
const forbiddenModeBits = 0o027

/** Reads the files that `tls_cert` and `tls_key` name.
 *  @throws TlsUnusable when one is missing, is something else, lies open, or they do not belong together */
export function readIdentity(certificatePath: string, keyPath: string): TlsIdentity {
  const certificates = read('tls_cert', certificatePath)
  const certificate = parseCertificate(certificates, certificatePath)
  const key = read('tls_key', keyPath, forbiddenModeBits)
  if (!certificate.checkPrivateKey(parseKey(key, keyPath)))
    throw new TlsUnusable(`tls_key: ${keyPath} is not the key of the certificate in ${certificatePath}`)
  return { certificates, key, sha256: sha256Of(certificate.fingerprint256), validTo: certificate.validToDate }
}

/** Node's `AB:CD:…` as plain hex digits. */
export function sha256Of(fingerprint256: string): string {
  return fingerprint256.replaceAll(':', '').toLowerCase()
}

function read(name: string, path: string, forbiddenBits = 0): Buffer {
  try {
    const file = openSync(path, 'r')
    try {
      const mode = fstatSync(file).mode & 0o777
      if ((mode & forbiddenBits) !== 0)
        throw new TlsUnusable(`${name}: ${path} is open to others (mode ${mode.toString(8)}): chmod 600 it`)
      return readFileSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    if (error instanceof TlsUnusable) throw error
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const reason = isMissing ? 'does not exist' : `cannot be read: ${(error as Error).message}`
    throw new TlsUnusable(`${name}: ${path} ${reason}`, { cause: error })
  }
}

function parseCertificate(pem: Buffer, path: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TlsUnusable(`tls_cert: ${path} holds no certificate (PEM)`, { cause })
  }
}

function parseKey(pem: Buffer, path: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new TlsUnusable(`tls_key: ${path} holds no private key without a passphrase (PEM)`, { cause })
  }
}
