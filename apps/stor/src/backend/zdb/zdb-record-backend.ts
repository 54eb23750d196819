import { StorError } from '../../errors.ts'
import type { BackendOptions, BackendStat, RecordBackend } from '../backend.ts'
import { GroupSync } from './group-sync.ts'
import { fsync, linkOf, removeKey, statOf } from './zdb-backend.ts'
import { type ZdbAddress, ZdbLink, type ZdbLinkOptions } from './zdb-link.ts'
import { scanKeys } from './zdb-scan.ts'

/** Records in a user-mode namespace of a 0-db server. A set is on disk when it resolves, where the server has FSYNC;
 *  sets that wait for it at the same time share one. */
export class ZdbRecordBackend implements RecordBackend {
  readonly name: string
  readonly #namespace: string
  readonly #writes: ZdbLink
  readonly #reads: ZdbLink
  readonly #sync: GroupSync
  #hasFsync: boolean | null = null

  constructor(name: string, address: ZdbAddress, options: Omit<ZdbLinkOptions, 'mode'>) {
    this.name = name
    this.#namespace = address.namespace
    this.#writes = new ZdbLink(name, address, { ...options, mode: 'user' })
    const { ownerId: _, ...readOptions } = options
    this.#reads = new ZdbLink(name, address, { ...readOptions, mode: 'user' })
    this.#sync = new GroupSync(async () => {
      this.#hasFsync = (await fsync(this.#writes, this.#namespace)) !== null
    })
  }

  async set(key: Uint8Array, bytes: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    await this.#writes.call(['SET', toBuffer(key), toBuffer(bytes)], signal)
    await this.#syncOnSameConnection(signal)
  }

  async get(key: Uint8Array, { signal }: BackendOptions = {}): Promise<Buffer | null> {
    const reply = await this.#reads.call(['GET', toBuffer(key)], signal)
    if (reply !== null && !Buffer.isBuffer(reply)) throw new StorError('damaged', `${this.name} answers no value`)
    return reply
  }

  async remove(key: Uint8Array, { signal }: BackendOptions = {}): Promise<void> {
    await removeKey(this.#writes, toBuffer(key), signal)
    await this.#syncOnSameConnection(signal)
  }

  list({ signal }: BackendOptions = {}): AsyncIterable<readonly Buffer[]> {
    return scanKeys(this.#reads, signal)
  }

  async stat({ signal }: BackendOptions = {}): Promise<BackendStat> {
    this.#hasFsync ??= (await fsync(this.#writes, this.#namespace, signal)) !== null
    const info = await this.#reads.call(['NSINFO', this.#namespace], signal)
    return { ...statOf(info), durability: this.#hasFsync ? 'disk' : 'unknown', link: linkOf(this.#writes, this.#reads) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#writes[Symbol.asyncDispose](), this.#reads[Symbol.asyncDispose]()])
  }

  /** A server that was restarted between the change and its sync may have lost it. */
  async #syncOnSameConnection(signal: AbortSignal | undefined): Promise<void> {
    const connection = this.#writes.connectionCount
    await this.#sync.run(signal)
    if (this.#writes.connectionCount !== connection) {
      throw new StorError('unavailable', `${this.name}: the connection was lost before the sync`)
    }
  }
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
