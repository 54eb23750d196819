import { type ConnectionLimits, defaultConnectionLimits } from '@qsfs/resp/limits'
import type { ListenAddress } from '@qsfs/resp/server'
import { readIdentity, type TlsIdentity } from '@qsfs/resp/tls/identity'
import type { CachedbConfig } from './config.ts'

/** Where clients are waited for. */
export interface Listening {
  /** The unix socket, TCP in clear, TLS: in this order, as far as they were asked for. */
  readonly addresses: readonly ListenAddress[]
  /** Of the TLS listener. */
  readonly identity: TlsIdentity | null
}

/** Reads the certificate and its key, when there are any.
 *  @throws TlsUnusable */
export function prepareListening({ socketPath, listen, tls }: CachedbConfig): Listening {
  const identity = tls === null ? null : readIdentity(tls.certificatePath, tls.keyPath)
  const addresses: ListenAddress[] = []
  if (socketPath !== undefined) addresses.push({ path: socketPath })
  if (listen !== undefined) addresses.push(listen)
  if (tls !== null && identity !== null) addresses.push({ ...tls.listen, tls: { identity, groups: tls.groups } })
  return { addresses, identity }
}

export function connectionLimits({ clientLimits }: CachedbConfig): ConnectionLimits {
  return { ...defaultConnectionLimits, ...clientLimits }
}
