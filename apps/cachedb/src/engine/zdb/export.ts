import { join } from 'node:path'
import type { Storage } from '../../segment/storage.ts'
import { encodeDescriptor } from '../../segment/zdb/descriptor-format.ts'
import { decodeId, encodeId } from '../keydir/keydir-sequential.ts'
import type { MaybePromise, Namespace } from '../namespace.ts'
import { ZdbWriter } from './zdb-writer.ts'

export interface ExportedNamespace {
  readonly entries: number
  readonly valueBytes: number
}

/** Writes what lives in a namespace as files of 0-db, durably: `<dataRoot>/<name>/d0`, … and `<indexRoot>/<name>/i0`, … with the
 *  descriptor. Sequential ids stay what they are, the next one too.
 *  @throws SegmentUnavailable when a value can be read nowhere */
export async function exportNamespace(
  namespace: Namespace,
  target: {
    readonly storage: Storage
    readonly dataRoot: string
    readonly indexRoot: string
    readonly fileBytesMax: number
    readonly nowSeconds: number
  },
): Promise<ExportedNamespace> {
  const { storage, fileBytesMax, nowSeconds } = target
  const { storedSettings: settings, name } = namespace
  const dataDirectory = join(target.dataRoot, name)
  const indexDirectory = join(target.indexRoot, name)
  storage.makeDirectory(dataDirectory)
  storage.makeDirectory(indexDirectory)
  const writer = new ZdbWriter(storage, { dataDirectory, indexDirectory, mode: settings.mode, fileBytesMax })
  const { nextId } = namespace.info()
  let entries = 0
  let valueBytes = 0
  const ahead = new ReadAhead(namespace, async (key, value, timestampSeconds) => {
    if (value === null) return writer.deadId(decodeId(key)!, nowSeconds)
    await writer.value(key, value, timestampSeconds)
    entries++
    valueBytes += value.length
  })
  if (settings.mode === 'user') for await (const key of liveKeys(namespace)) await ahead.add(key)
  else for (let id = 0; id < nextId; id++) await ahead.add(encodeId(id))
  await ahead.finish()
  await storage.publish(join(indexDirectory, 'zdb-namespace'), [encodeDescriptor(name, settings)])
  await writer.finish()
  return { entries, valueBytes }
}

/** In append order. */
async function* liveKeys(namespace: Namespace): AsyncGenerator<Buffer> {
  for (let after: Buffer | null = null; ; ) {
    const page = await namespace.scan(after, pageMs)
    if (page === null) return
    for (const { key } of page.entries) yield key
    after = page.cursor
  }
}

const pageMs = 20

interface Reading {
  readonly key: Buffer
  readonly valueBytes: number
  readonly timestampSeconds: number
  readonly value: MaybePromise<Buffer | null>
}

/** Reads values side by side, and hands them on one after the other. */
class ReadAhead {
  readonly #namespace: Namespace
  readonly #write: (key: Buffer, value: Buffer | null, timestampSeconds: number) => Promise<void>
  readonly #readings: Reading[] = []
  #readingBytes = 0

  constructor(
    namespace: Namespace,
    write: (key: Buffer, value: Buffer | null, timestampSeconds: number) => Promise<void>,
  ) {
    this.#namespace = namespace
    this.#write = write
  }

  /** @throws SegmentUnavailable of an earlier one */
  async add(key: Buffer): Promise<void> {
    const { valueBytes, timestampSeconds } = this.#namespace.stat(key) ?? { valueBytes: 0, timestampSeconds: 0 }
    const value = this.#namespace.get(key, { cold: 'wait' })
    // Who waits for it hears of its failure.
    if (value instanceof Promise) value.catch(() => {})
    this.#readings.push({ key, valueBytes, timestampSeconds, value })
    this.#readingBytes += valueBytes
    if (this.#readings.length > aheadMax.values || this.#readingBytes > aheadMax.bytes) await this.#next()
  }

  async finish(): Promise<void> {
    while (this.#readings.length > 0) await this.#next()
  }

  async #next(): Promise<void> {
    const { key, valueBytes, timestampSeconds, value } = this.#readings.shift()!
    this.#readingBytes -= valueBytes
    await this.#write(key, await value, timestampSeconds)
  }
}

const aheadMax = { values: 64, bytes: 32 * 1024 * 1024 } as const
