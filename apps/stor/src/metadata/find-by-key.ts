import { blake2b } from 'hash-wasm'
import { StorError } from '../errors.ts'
import type { MetaStore } from './meta-store.ts'
import { objectIdOfKey } from './name-record.ts'
import { decodeRecord } from './object-record.ts'

/** The objects that zstor would keep under `/<prefix>/meta/<hash>`: those stored under the name with that BLAKE2b-128. Our
 *  own keys tell nothing of names, so every record is looked at.
 *  @throws StorError 'refused' for a key that is none, or another store's; 'not-found' */
export async function findByZstorKey(
  key: string,
  prefix: string,
  meta: MetaStore,
  options: { readonly signal?: AbortSignal },
): Promise<Buffer[]> {
  const hash = /^\/(.*)\/meta\/([0-9a-f]{32})$/.exec(key)
  if (hash === null) throw new StorError('refused', `${key} is no key: /<prefix>/meta/<32 hex digits>`)
  if (hash[1] !== prefix)
    throw new StorError('refused', `${key} belongs to another store: the prefix here is ${prefix}`)
  const found: Buffer[] = []
  for (const recordKey of await meta.list(options)) {
    if (objectIdOfKey(recordKey) === null) continue
    const stored = await meta.getAny(recordKey, options)
    const record = stored === null ? null : decodeRecord(stored.bytes)
    if (record?.state !== 'live') continue
    if ((await blake2b(record.name, 128)) === hash[2]) found.push(record.objectId)
  }
  if (found.length === 0) throw new StorError('not-found', `no metadata found for key ${key}: entity not found`)
  return found
}
