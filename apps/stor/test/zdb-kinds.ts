import { RespClient } from '@qsfs/resp/client'
import type { TlsClientOptions } from '@qsfs/resp/tls/peer'
import type { BackendLink } from '../src/backend/backend.ts'
import { ZdbBackend } from '../src/backend/zdb/zdb-backend.ts'
import type { ZdbAddress } from '../src/backend/zdb/zdb-link.ts'
import { ZdbRecordBackend } from '../src/backend/zdb/zdb-record-backend.ts'
import type { BackendKind } from './backend-suite.ts'

export const links = { createNamespace: true, connectTimeoutMs: 10_000, commandTimeoutMs: 30_000 }

export interface ZdbServer {
  readonly address: string
  readonly tls?: TlsClientOptions
  readonly adminPassword?: string
  /** How its namespaces are protected; they are made beforehand then, by somebody else. */
  readonly namespacePassword?: string
}

let namespaceCount = 0

/** Backends of one server, each in a namespace of its own. */
export function zdbKind(
  name: string,
  durability: BackendKind['durability'],
  link: BackendLink,
  serverOf: (stack: AsyncDisposableStack) => Promise<ZdbServer>,
): BackendKind {
  const placeOf = async (stack: AsyncDisposableStack, mode: 'seq' | 'user') => {
    const server = await serverOf(stack)
    const place = { ...server, namespace: `${mode}${++namespaceCount}` }
    if (server.namespacePassword === undefined) return { place, options: links }
    await makeNamespace(place, server.namespacePassword, mode)
    return { place, options: { ...links, createNamespace: false } }
  }
  return {
    name,
    durability,
    link,
    open: async stack => {
      const { place, options } = await placeOf(stack, 'seq')
      const open = async () => stack.use(new ZdbBackend('z', place, options))
      return { backend: await open(), reopen: open }
    },
    openRecords: async stack => {
      const { place, options } = await placeOf(stack, 'user')
      return stack.use(new ZdbRecordBackend('z', place, options))
    },
  }
}

async function makeNamespace({ namespace, ...server }: ZdbAddress, password: string, mode: 'seq' | 'user') {
  await using admin = await RespClient.connect({ ...server, namespacePassword: undefined })
  await admin.call('NSNEW', namespace)
  await admin.call('NSSET', namespace, 'mode', mode)
  await admin.call('NSSET', namespace, 'password', password)
  await admin.call('NSSET', namespace, 'public', '0')
}
