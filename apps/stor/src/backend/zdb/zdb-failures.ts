import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, RespError } from '@qsfs/resp/client'
import { ServerSilent } from '@qsfs/resp/connect/silence-watch'
import { MalformedReply } from '@qsfs/resp/reply-parser'
import { TlsFailure, type TlsFailureKind } from '@qsfs/resp/tls/peer'
import { StorError, type StorErrorReason } from '../../errors.ts'

/** Why no connection came about, and what to do. `place` is the address. */
const CONNECTING: Readonly<Record<string, (place: string) => string>> = {
  ECONNREFUSED: place => `nothing listens at ${place}: start its server, or correct the address`,
  ENOENT: place => `there is no socket ${place}: start its server, or correct the address`,
  ENOTFOUND: place => `the host name in ${place} cannot be resolved: correct it, or this machine's name servers`,
  EAI_AGAIN: place => `the host name in ${place} cannot be resolved: correct it, or this machine's name servers`,
  EHOSTUNREACH: place => `there is no route to ${place}: is that machine up, and connected?`,
  ENETUNREACH: place => `there is no route to ${place}: is this machine connected?`,
  ETIMEDOUT: place => `${place} does not answer: is that machine up, and does its firewall let us in?`,
  EACCES: place => `this user may not open ${place}: give it the rights, or run stor as another`,
}

const TLS_ADVICE: Readonly<Record<TlsFailureKind, string>> = {
  plain: 'take tls:// off its address, or give the port of its TLS listener',
  old: 'its server must offer TLS 1.3',
  groups: 'its server must offer one of them',
  pin: 'if its certificate was renewed, tls_fingerprint is to become that; if not, somebody is in between',
  untrusted: 'set tls_fingerprint, or tls_ca_file',
}

/** What an error reply means: the first text that it begins with. */
const REPLIES: readonly (readonly [text: string, reason: StorErrorReason])[] = [
  [ErrorText.namespaceFull, 'full'],
  [ErrorText.fullSpace, 'full'],
  [ErrorText.fullWait, 'full'],
  [ErrorText.keyNotFound, 'missing'],
  [ErrorText.namespaceNotFound, 'refused'],
  [ErrorText.namespaceReadOnly, 'refused'],
  [ErrorText.ownerLost, 'refused'],
  ['Access denied', 'refused'],
  ['Namespace protected and private', 'refused'],
  ['Permission denied', 'refused'],
  [ErrorText.ioErrorPrefix, 'damaged'],
]

/** Of a command on a connection that works. */
export function commandFailure(name: string, error: unknown): Error {
  if (error instanceof StorError) return error
  if (error instanceof ConnectionLost)
    return new StorError('unavailable', `${name}: ${error.message}`, { cause: error })
  if (error instanceof RespError) {
    const reason = REPLIES.find(([text]) => error.message.startsWith(text))?.[1] ?? 'unavailable'
    const isReadOnly = error.message.startsWith(ErrorText.namespaceReadOnly)
    const advice = isReadOnly ? ': give the password of its namespace, or unlock it' : ''
    return new StorError(reason, `${name} answers: ${error.message}${advice}`, { cause: error })
  }
  return error instanceof Error ? error : new Error(String(error))
}

/** Of a connection, until it is ready: one sentence that says what to do.
 *  @param place the address, as people write it */
export function connectFailure(name: string, place: string, error: unknown): Error {
  if (!(error instanceof ConnectionLost)) return commandFailure(name, error)
  return new StorError('unavailable', `${name}: ${sentenceOn(place, error)}`, { cause: error })
}

function sentenceOn(place: string, error: ConnectionLost): string {
  const { cause } = error
  if (cause instanceof TlsFailure) return `${cause.message}: ${TLS_ADVICE[cause.kind]}`
  if (cause instanceof MalformedReply) {
    return /"HTTP\//.test(cause.message)
      ? `an HTTP server answers at ${place}: correct the address`
      : `what answers at ${place} is no 0-db server (${cause.message}): correct the address`
  }
  if (cause instanceof ServerSilent) {
    return `${place} takes connections and says nothing (${cause.message}): it hangs, or is no 0-db server`
  }
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  // A server of TLS does so when it is not spoken to in TLS.
  if (code === '' || code === 'ECONNRESET' || code === 'EPIPE') {
    return `${place} closes the connection at once: is it a TLS port (tls://), or no 0-db server?`
  }
  return CONNECTING[code]?.(place) ?? error.message
}

/** An error reply to AUTH. */
export function passwordFailure(name: string, error: unknown): unknown {
  if (!(error instanceof RespError)) return error
  const sentences: Readonly<Record<string, string>> = {
    'Access denied': 'it refuses the admin password: correct the file of admin_password_file',
    'Authentication disabled': 'its server has no admin password: leave admin_password_file out',
  }
  const sentence = sentences[error.message] ?? `it answers AUTH with "${error.message}": is it a 0-db server?`
  return new StorError('refused', `${name}: ${sentence}`, { cause: error })
}
