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
 *  @throws TlsFailure when the certificate is not the pinned one */
export function checkPeer(socket: TLSSocket, { certificateSha256 }: TlsClientOptions): TlsPeer {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) throw new TlsFailure('untrusted', 'the server showed no certificate')
  const seen = sha256Of(certificate.fingerprint256)
  if (certificateSha256 !== undefined && seen !== sha256Of(certificateSha256))
    throw new TlsFailure('pin', `the server's certificate has SHA-256 ${seen}, not the pinned one`)
  return { version: socket.getProtocol() ?? '', group: groupOf(socket), certificateSha256: seen }
}

/** The group of a connection; '' when OpenSSL does not say. */
export function groupOf(socket: TLSSocket): string {
  const info: object | null = socket.getEphemeralKeyInfo()
  return info !== null && 'name' in info && typeof info.name === 'string' ? info.name : ''
}

export type TlsFailureKind =
  /** What answers does not speak TLS. */
  | 'plain'
  /** It speaks an older TLS. */
  | 'old'
  /** No common key exchange. */
  | 'groups'
  /** Another certificate than the pinned one. */
  | 'pin'
  /** A certificate that no trusted authority signed, or for another name or time. */
  | 'untrusted'

/** A handshake that failed, in words. */
export class TlsFailure extends Error {
  override readonly name = 'TlsFailure'
  readonly kind: TlsFailureKind

  constructor(kind: TlsFailureKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

/** OpenSSL's reasons. */
const FAILURES: Readonly<Record<string, TlsFailureKind>> = {
  'wrong version number': 'plain',
  'tlsv1 alert protocol version': 'old',
  'ssl/tls alert handshake failure': 'groups',
}
/** Node's codes of certificates that are not trusted. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_NOT_YET_VALID',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

/** What a handshake that failed means; any other error as it is. */
export function tlsFailure(error: Error, { groups = hybridGroups }: TlsClientOptions): Error {
  if ('code' in error && UNTRUSTED.has(String(error.code))) {
    // Node adds advice for people who run node.
    const [reason] = error.message.split(';')
    return new TlsFailure('untrusted', `its certificate is not trusted (${reason})`, { cause: error })
  }
  const kind = 'reason' in error ? FAILURES[String(error.reason)] : undefined
  if (kind === undefined) return error
  const sentences: Readonly<Record<string, string>> = {
    plain: 'the server does not speak TLS',
    old: 'the server does not speak TLS 1.3',
    groups: `the server knows none of the key exchanges ${groups.join(', ')}`,
  }
  return new TlsFailure(kind, sentences[kind]!, { cause: error })
}
