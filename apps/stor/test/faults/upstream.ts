import { mkdir, writeFile } from 'node:fs/promises'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'

const CACHEDB = new URL('../../../cachedb/src/main.ts', import.meta.url).pathname

/** One real server for many backends, each in a namespace of its own. @returns its address */
export async function startCachedb(stack: AsyncDisposableStack): Promise<string> {
  const { path } = stack.use(await temporaryDirectory({ inMemory: true }))
  await mkdir(`${path}/data`)
  const toml = `[cachedb]\ndata_dir = "${path}/data"\nsocket = "${path}/socket"\nmode = "mixed"\n`
  await writeFile(`${path}/cachedb.toml`, toml)
  const server = stack.use(spawnProcess(process.execPath, [CACHEDB, '--config', `${path}/cachedb.toml`]))
  await server.waitForLine(/server\.ready/)
  return `unix:${path}/socket`
}
