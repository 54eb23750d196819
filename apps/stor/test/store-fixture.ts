import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { loadStorConfig } from '../src/config.ts'
import { Runtime } from '../src/runtime.ts'

export interface Place {
  readonly name: string
  readonly address: string
}

/** TOML for a store: data backends in groups of two, k = 4 of n = 6 unless said otherwise. */
export function storeToml(
  directory: string,
  data: readonly Place[],
  meta: readonly Place[],
  extra: Readonly<Record<string, string | number | boolean>> = {},
): string {
  const settings = {
    minimal_shards: 4,
    expected_shards: 6,
    redundant_groups: 1,
    socket: `${directory}/stor.sock`,
    master_key_file: `${directory}/master`,
    create_namespaces: true,
    connect_timeout: '5s',
    backend_timeout: '20s',
    health_check_interval: '50ms',
    down_after: '150ms',
    ...extra,
  }
  const lines = ['[stor]', ...Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`)]
  const place = ({ name, address }: Place, namespace: string) =>
    address.startsWith('dir:')
      ? [`name = "${name}"`, `address = "${address}"`]
      : [`name = "${name}"`, `address = "${address}"`, `namespace = "${namespace}"`]
  for (const [i, backend] of data.entries()) {
    if (i % 2 === 0) lines.push('[[stor.groups]]')
    lines.push('[[stor.groups.backends]]', ...place(backend, 'data'))
  }
  lines.push('[stor.meta.config]')
  for (const backend of meta) lines.push('[[stor.meta.config.backends]]', ...place(backend, 'meta'))
  return `${lines.join('\n')}\n`
}

/** A directory with six `dir:` backends for data and for metadata, and a config that names them. */
export async function directoryStore(stack: AsyncDisposableStack, extra: Parameters<typeof storeToml>[3] = {}) {
  const { path } = stack.use(await temporaryDirectory())
  const places = async (kind: string) => {
    const numbers = [1, 2, 3, 4, 5, 6]
    await Promise.all(numbers.map(i => mkdir(`${path}/${kind}${i}`)))
    return numbers.map(i => ({ name: `${kind}${i}`, address: `dir:${path}/${kind}${i}` }))
  }
  const config = `${path}/qsfs.toml`
  await writeFile(config, storeToml(path, await places('data'), await places('meta'), extra))
  return { path, config }
}

/** The store of a config, opened as the daemon does it. */
export async function openRuntime(stack: AsyncDisposableStack, config: string): Promise<Runtime> {
  const runtime = new Runtime(loadStorConfig(config), { clock: systemClock, random: randomBytes, log: silentLog })
  stack.use(runtime)
  await runtime.start()
  return runtime
}

/** Waits until `isTrue`, asking again and again.
 *  @throws Error after a minute's worth of asking, so that a broken test ends */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  { everyMs = 20 }: { readonly everyMs?: number } = {},
): Promise<void> {
  for (let asked = 0; asked < 60_000 / everyMs; asked++) {
    if (await isTrue()) return
    await new Promise(resolve => setTimeout(resolve, everyMs))
  }
  throw new Error(`still not so: ${isTrue}`)
}
