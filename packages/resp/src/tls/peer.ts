import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { hybridGroups, type TlsGroup, tlsSettings } from './groups.ts'
import { sha256Of } from './identity.ts'

export interface TlsClientOptions {
  /** SHA-256 of the server's certificate, 64 hex digits: then this certificate and no other is trusted, whoever signed it. Without
   *  it the system's authorities and the name of the host decide. */
  readonly certificateSha256?: string
  /** Offered to the server; the hybrid ones by default. */
  readonly groups?: readonly TlsGroup[]
}

/** What a handshake agreed on. */
export interface TlsPeer {
  /** The group of the key exchange, for example `X25519MLKEM768`. */
  readonly group: string
  /** Of the server's certificate, 64 lower-case hex digits. */
  readonly certificateSha256: string
}

/** What `tls.connect` needs beside the address. */
export function tlsConnectOptions(
  host: string,
  { certificateSha256, groups = hybridGroups }: TlsClientOptions,
): ConnectionOptions {
  // A name for the server to choose by; an address must not be sent as one.
  const servername = /^[\d.]+$|:/.test(host) ? '' : host
  return { ...tlsSettings(groups), servername, rejectUnauthorized: certificateSha256 === undefined }
}

/** To be asked before the first byte is sent.
 *  @throws Error when the certificate is not the pinned one */
export function checkPeer(socket: TLSSocket, { certificateSha256 }: TlsClientOptions): TlsPeer {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) throw new Error('the server showed no certificate')
  const seen = sha256Of(certificate.fingerprint256)
  if (certificateSha256 !== undefined && seen !== sha256Of(certificateSha256))
    throw new Error(`the server's certificate has SHA-256 ${seen}, not the pinned one`)
  return { group: groupOf(socket), certificateSha256: seen }
}

/** The group of a connection; '' when OpenSSL does not say. */
export function groupOf(socket: TLSSocket): string {
  const info: object | null = socket.getEphemeralKeyInfo()
  return info !== null && 'name' in info && typeof info.name === 'string' ? info.name : ''
}
