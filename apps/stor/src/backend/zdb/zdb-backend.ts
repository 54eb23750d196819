import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { parsePositions, weaker } from '@qsfs/resp/connect/introduction'
import { StorError } from '../../errors.ts'
import type { Backend, BackendLink, BackendOptions, BackendStat, PieceId, SyncOptions } from '../backend.ts'
import { type ZdbAddress, ZdbLink, type ZdbLinkOptions } from './zdb-link.ts'
import { parseInfo } from './zdb-namespace.ts'
import { scanKeys } from './zdb-scan.ts'

/** 0-db's text for a command it does not know. */
const UNKNOWN_COMMAND = 'Command not supported'
/** Numbers of NSINFO that metrics pass on. */
const SAID = [
  'data_limits_bytes',
  'index_size_bytes',
  'index_disk_freespace_bytes',
  'data_disk_freespace_bytes',
  'stats_index_io_errors',
  'stats_index_faults',
  'stats_data_io_errors',
  'stats_data_faults',
] as const

/** Removals sent ahead of their answers. */
const REMOVALS_AT_ONCE = 64

/** Pieces in a sequential namespace of a 0-db server: cachedb, whose FSYNC puts them on disk, or the C one, which has
 *  none. Two connections: puts and syncs go down one, in order, so that a shard's ids form runs; reads down the other. */
export class ZdbBackend implements Backend {
  readonly name: string
  readonly #namespace: string
  readonly #writes: ZdbLink
  readonly #reads: ZdbLink
  /** Pieces put since the last sync, and on which connection. */
  readonly #pending = new Map<PieceId, number>()
  /** Pieces that a restart lost before their sync; by little it only grows. */
  readonly #lost = new Set<PieceId>()
  #hasFsync: boolean | null = null

  constructor(name: string, address: ZdbAddress, options: Omit<ZdbLinkOptions, 'mode'>) {
    this.name = name
    this.#namespace = address.namespace
    this.#writes = new ZdbLink(name, address, { ...options, mode: 'sequential' })
    this.#reads = new ZdbLink(name, address, { ...options, mode: 'sequential' })
  }

  async put(bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<PieceId> {
    const value = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const reply = await this.#writes.call(['SET', '', value], signal)
    if (!Buffer.isBuffer(reply) || reply.length !== 8) {
      throw new StorError('damaged', `${this.name} answers a SET with something else than an id of 8 bytes`)
    }
    const id = idOfKey(reply)
    if (id === null) throw new StorError('damaged', `${this.name} answers an id above 2^53`)
    // A server that forgot what it had not synced gives the id to two pieces. Who has the first must not rely on it.
    if (this.#pending.has(id)) this.#lost.add(id)
    this.#pending.set(id, this.#writes.connectionCount)
    return id
  }

  async get(id: PieceId, { signal }: BackendOptions = {}): Promise<Buffer> {
    const reply = await this.#reads.call(['GET', keyOfId(id)], signal)
    if (reply === null) throw new StorError('missing', `${this.name} has no value ${id}`)
    if (!Buffer.isBuffer(reply)) throw new StorError('damaged', `${this.name} answers a GET with no value`)
    return reply
  }

  async remove(ids: readonly PieceId[], { signal }: BackendOptions = {}): Promise<void> {
    for (const id of ids) this.#pending.delete(id)
    for (let at = 0; at < ids.length; at += REMOVALS_AT_ONCE) {
      const batch = ids.slice(at, at + REMOVALS_AT_ONCE)
      await Promise.all(batch.map(id => removeKey(this.#writes, keyOfId(id), signal)))
    }
    await fsync(this.#writes, this.#namespace, signal)
  }

  async *list({ signal }: BackendOptions = {}): AsyncIterable<readonly PieceId[]> {
    for await (const keys of scanKeys(this.#reads, signal)) {
      yield keys.map(idOfKey).filter(id => id !== null)
    }
  }

  async stat({ signal }: BackendOptions = {}): Promise<BackendStat> {
    this.#hasFsync ??= (await fsync(this.#writes, this.#namespace, signal)) !== null
    const info = await this.#reads.call(['NSINFO', this.#namespace], signal)
    return { ...statOf(info), durability: this.#hasFsync ? 'disk' : 'unknown', link: linkOf(this.#writes, this.#reads) }
  }

  async sync({ signal, ids = [] }: SyncOptions = {}): Promise<void> {
    const covered = [...this.#pending]
    this.#hasFsync = (await fsync(this.#writes, this.#namespace, signal)) !== null
    const connection = this.#writes.connectionCount
    // NFS's COMMIT rule: a sync covers what the same server process was given. What went down an earlier connection is
    // looked for; when it is there, it was there before the sync, which then covered it.
    let lostCount = 0
    for (const [id, putOn] of covered) {
      if (putOn !== connection && !(await this.#exists(id, signal))) {
        this.#lost.add(id)
        lostCount++
      }
      this.#pending.delete(id)
    }
    for (const id of ids) if (this.#lost.has(id)) lostCount++
    if (lostCount > 0) throw new StorError('missing', `${this.name} was restarted and lost pieces before their sync`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#writes[Symbol.asyncDispose](), this.#reads[Symbol.asyncDispose]()])
  }

  async #exists(id: PieceId, signal: AbortSignal | undefined): Promise<boolean> {
    return Number(await this.#writes.call(['EXISTS', keyOfId(id)], signal)) === 1
  }
}

/** Syncs the namespace. @returns the server's instance, null when it knows no FSYNC */
export async function fsync(link: ZdbLink, namespace: string, signal?: AbortSignal): Promise<string | null> {
  try {
    const [position] = parsePositions(await link.call(['FSYNC', namespace], signal))
    return position?.instance ?? ''
  } catch (error) {
    if (error instanceof StorError && error.message.includes(UNKNOWN_COMMAND)) return null
    if (error instanceof TypeError)
      throw new StorError('damaged', `${link.name} answers FSYNC strangely`, { cause: error })
    throw error
  }
}

export async function removeKey(link: ZdbLink, key: Buffer, signal?: AbortSignal): Promise<void> {
  try {
    await link.call(['DEL', key], signal)
  } catch (error) {
    if (!(error instanceof StorError && error.message.endsWith(ErrorText.keyNotFound))) throw error
  }
}

/** Numbers of NSINFO; a line that is missing counts as 0. */
export function statOf(reply: Parameters<typeof parseInfo>[0]): Omit<BackendStat, 'durability' | 'link'> {
  const info = parseInfo(reply)
  const numberOf = (key: string) => Math.max(0, Number(info.get(key)) || 0)
  const usedBytes = numberOf('data_size_bytes')
  const limitBytes = numberOf('data_limits_bytes')
  const diskFreeBytes = info.has('data_disk_freespace_bytes') ? numberOf('data_disk_freespace_bytes') : null
  // zstor took the limit itself for the free space.
  const limitFreeBytes = limitBytes > 0 ? Math.max(0, limitBytes - usedBytes) : null
  const known = [diskFreeBytes, limitFreeBytes].filter(free => free !== null)
  const freeBytes = known.length === 0 ? null : Math.min(...known)
  const said = new Map(SAID.filter(key => info.has(key)).map(key => [key, numberOf(key)]))
  return { valueCount: numberOf('entries'), usedBytes, freeBytes, said }
}

/** How both connections are made, by the one that tells a listener more. */
export function linkOf({ link: writes }: ZdbLink, { link: reads }: ZdbLink): BackendLink | null {
  if (writes === null || reads === null) return writes ?? reads
  return { tls: reads.tls, passwordsSent: weaker(writes.passwordsSent, reads.passwordsSent) }
}

function keyOfId(id: PieceId): Buffer {
  const key = Buffer.allocUnsafeSlow(8)
  key.writeBigUInt64LE(BigInt(id))
  return key
}

/** Null for a key that is no id of ours. */
function idOfKey(key: Buffer): PieceId | null {
  if (key.length !== 8) return null
  const id = Number(key.readBigUInt64LE())
  return Number.isSafeInteger(id) ? id : null
}
