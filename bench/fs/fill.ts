import { randomBytes } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { MiB } from '@qsfs/bytes/units'
import { systemClock } from '@qsfs/concurrency/clock'
import { BulkClient } from '@qsfs/resp/bulk-client'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { createNamespaces } from '../../apps/fs/src/store/cachedb-session.ts'
import { CachedbStore } from '../../apps/fs/src/store/cachedb-store.ts'
import { Driver } from '../../apps/fs/test/driver.ts'
import { silentLog } from '../../packages/telemetry/src/log.ts'

const rootNodeId = 1
const contentBytes = 100
/** The others are empty. */
const filesPerContent = 10
const filesPerTurn = 20
/** All names of a million files: each create needs those of its hash. */
const recordBytesMax = 256 * MiB
const asRoot = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal }
const bySystemCall = { fromCache: false, killPrivileges: false }

/** Makes the filesystem of the namespaces `data` and `meta` with `count` files in one directory, a tenth of them with 100 bytes, as fs leaves it after a
 *  clean end: by fs's own code in this process, in a fraction of the time that system calls take. */
export async function fill(address: string, directory: string, count: number): Promise<void> {
  const pool = new BulkPool()
  const connect: Parameters<typeof createNamespaces>[0] = options => BulkClient.connect({ address, ...options }, pool)
  const names = { data: 'data', meta: 'meta' }
  await createNamespaces(connect, names)
  await using store = await CachedbStore.open(connect, names, systemClock, randomBytes, silentLog, {
    blockMemory: pool,
  })
  await using driver = await Driver.mount(store, { recordBytesMax })
  const { filesystem } = driver
  const parent = (await filesystem.mkdir(rootNodeId, Buffer.from(directory), 0o755, asRoot)).attr.nodeId
  for (let index = 0; index < count; index++) {
    const { attr } = await filesystem.create(parent, Buffer.from(`some file ${index}`), 0o644, 0, asRoot)
    if (index % filesPerContent === 0)
      await filesystem.write(attr.nodeId, 0, 0, Buffer.alloc(contentBytes, `${index} `), bySystemCall, asRoot)
    filesystem.forget(attr.nodeId, 1)
    if (index % filesPerTurn === 0) await turn()
  }
}
