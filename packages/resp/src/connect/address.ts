import type { ConnectionOptions } from 'node:tls'
import { type TlsClientOptions, tlsConnectOptions } from '../tls/peer.ts'

type Place = { readonly path: string } | { readonly host: string; readonly port: number }

/** What a socket is made of; `tls` where it is to be encrypted.
 *  @param address `unix:/path`, `host:port`, `[v6]:port`, or one of the last two behind `tls://`
 *  @throws TypeError when it is none */
export function socketOptions(
  address: string,
  tls: TlsClientOptions = {},
): Place & { readonly tls?: ConnectionOptions } {
  if (!address.startsWith('tls://')) return parseAddress(address)
  const place = parseAddress(address.slice('tls://'.length))
  if ('path' in place) throw new TypeError(`address ${address} is not tls://host:port`)
  return { ...place, tls: tlsConnectOptions(place.host, tls) }
}

function parseAddress(address: string): Place {
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  if (!match) throw new TypeError(`address ${address} is neither unix:/path nor host:port`)
  return { host: (match[1] ?? match[2])!, port: Number(match[3]) }
}
