import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { hybridGroups, type TlsGroup, tlsSettings } from './groups.ts'
import { sha256Of } from './identity.ts'

export interface TlsClientOptions {
  /** SHA-256 of the server's certificate, 64 hex digits: then this certificate and no other is trusted, whoever signed it. */
  readonly certificateSha256?: string
  /** Certificates of the authorities that are trusted (PEM), instead of the system's; the name of the host must be in what
   *  they signed. Of no meaning beside `certificateSha256`. */
  readonly authorities?: string | Buffer
  /** Offered to the server; the hybrid ones by default. */
  readonly groups?: readonly TlsGroup[]
}

/** What a handshake agreed on. */
export interface TlsPeer {
  /** `TLSv1.3`. */
  readonly version: string
  /** The group of the key exchange, for example `X25519MLKEM768`. */
  readonly group: string
  /** Of the server's certificate, 64 lower-case hex digits. */
  readonly certificateSha256: string
}

/** What `tls.connect` needs beside the address. */
export function tlsConnectOptions(
  host: string,
  { certificateSha256, authorities, groups = hybridGroups }: TlsClientOptions,
): ConnectionOptions {
  // A name for the server to choose by; an address must not be sent as one.
  const servername = /^[\d.]+$|:/.test(host) ? '' : host
  const trusted = authorities === undefined ? {} : { ca: authorities }
  return { ...tlsSettings(groups), ...trusted, servername, rejectUnauthorized: certificateSha256 === undefined }
}

/** To be asked before the first byte is sent.
 *  @throws Error when the certificate is not the pinned one */
export function checkPeer(socket: TLSSocket, { certificateSha256 }: TlsClientOptions): TlsPeer {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) throw new Error('the server showed no certificate')
  const seen = sha256Of(certificate.fingerprint256)
  if (certificateSha256 !== undefined && seen !== sha256Of(certificateSha256))
    throw new Error(`the server's certificate has SHA-256 ${seen}, not the pinned one`)
  return { version: socket.getProtocol() ?? '', group: groupOf(socket), certificateSha256: seen }
}

/** The group of a connection; '' when OpenSSL does not say. */
export function groupOf(socket: TLSSocket): string {
  const info: object | null = socket.getEphemeralKeyInfo()
  return info !== null && 'name' in info && typeof info.name === 'string' ? info.name : ''
}

/** What a handshake that failed means for people; any other error as it is. */
export function tlsFailure(error: Error, { groups = hybridGroups }: TlsClientOptions): Error {
  const sentences: Readonly<Record<string, string>> = {
    'wrong version number': 'the server does not speak TLS',
    'tlsv1 alert protocol version': 'the server does not speak TLS 1.3',
    'ssl/tls alert handshake failure': `the server knows none of the key exchanges ${groups.join(', ')}`,
  }
  const sentence = 'reason' in error ? sentences[String(error.reason)] : undefined
  return sentence === undefined ? error : new Error(sentence, { cause: error })
}
