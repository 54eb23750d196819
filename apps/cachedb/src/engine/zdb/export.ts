import { join } from 'node:path'
import type { Storage } from '../../segment/storage.ts'
import { encodeDescriptor } from '../../segment/zdb/descriptor-format.ts'
import { encodeId } from '../keydir/keydir-sequential.ts'
import type { Namespace } from '../namespace.ts'
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
  let entries = 0
  let valueBytes = 0
  const write = async (key: Buffer): Promise<boolean> => {
    const found = namespace.stat(key)
    const value = await namespace.get(key, { cold: 'wait' })
    if (found === null || value === null) return false
    await writer.value(key, value, found.timestampSeconds)
    entries++
    valueBytes += value.length
    return true
  }
  if (settings.mode === 'sequential') {
    const { nextId } = namespace.info()
    for (let id = 0; id < nextId; id++) if (!(await write(encodeId(id)))) await writer.deadId(id, nowSeconds)
  } else for await (const key of liveKeys(namespace)) await write(key)
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
