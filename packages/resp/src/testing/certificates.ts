import { execFileSync } from 'node:child_process'
import { join } from 'node:path'

export interface CertificateFiles {
  readonly certificatePath: string
  readonly keyPath: string
}

/** A self-signed certificate for localhost and 127.0.0.1, good for a day, with its key of mode 0600; made by `openssl`. */
export function makeCertificate(directory: string, name: string): CertificateFiles {
  const files = { certificatePath: join(directory, `${name}.pem`), keyPath: join(directory, `${name}.key`) }
  const arguments_ = [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-keyout', files.keyPath, '-out', files.certificatePath],
  ]
  execFileSync('openssl', arguments_, { stdio: 'pipe' })
  return files
}
