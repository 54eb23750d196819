import { formatSize } from '@qsfs/bytes/units'
import { askControl } from '@qsfs/daemon/control'
import type { StatusResult } from '@qsfs/protocol/stor-control'
import Table from 'cli-table3'
import {
  type CachedbAccess,
  connectCachedb,
  type Dispersal,
  dispersalOf,
  type NamespaceView,
  viewNamespaces,
} from '../cachedb-view.ts'
import { chosenState, runningInstance } from '../running.ts'
import type { RunningInstance } from '../supervisor/running-processes.ts'

export interface StatusOptions {
  readonly state?: string
  readonly json?: boolean
}

/** How long a daemon may think about its status. */
const answerWithinMs = 20_000

interface Failed {
  readonly error: string
}

/** What `qsfs status --json` prints. */
interface Status extends Omit<RunningInstance, 'cachedb'> {
  readonly allClosedStored: boolean
  readonly namespaces: readonly NamespaceView[]
  readonly cachedb: RunningInstance['cachedb'] & Partial<Dispersal> & Partial<Failed>
  readonly stor: StatusResult | Failed
  readonly fs: FsStatus | Failed
}

/** What fs answers to `status`. */
interface FsStatus {
  readonly transport: string
  readonly dirtyBytes: number
  readonly waitingBytes: number
  readonly flushFailure: string | null
  readonly unsyncedBytes: number
  readonly blockCacheBytes: number
  readonly orphans: number
  readonly requests: Readonly<Record<string, number>>
}

/** `qsfs status`: asks every daemon; one that does not answer is shown as such. Exit code 0 while qsfs runs. */
export async function status({ state, json = false }: StatusOptions): Promise<void> {
  const instance = runningInstance(chosenState(state))
  const runs = (daemon: string) => instance.processes.some(({ name }) => name === daemon)
  const [cachedb, stor, fs] = await Promise.all([
    runs('cachedb') ? orFailed(askCachedb(instance.cachedb)) : notRunning,
    runs('stor') ? orFailed(ask<StatusResult>(instance.storSocket)) : notRunning,
    runs('fs') ? orFailed(ask<FsStatus>(instance.fsSocket)) : notRunning,
  ])
  const namespaces = 'error' in cachedb ? [] : cachedb
  const answered = 'error' in cachedb ? cachedb : dispersalOf(cachedb)
  const whole: Status = {
    ...instance,
    allClosedStored: 'allClosedStored' in answered && answered.allClosedStored,
    namespaces,
    cachedb: { ...instance.cachedb, ...answered },
    stor,
    fs,
  }
  process.stdout.write(json ? `${JSON.stringify(whole, null, 2)}\n` : forPeople(whole))
}

async function askCachedb(cachedb: CachedbAccess): Promise<NamespaceView[]> {
  await using client = await connectCachedb(cachedb)
  return await viewNamespaces(client)
}

/** qsfs starts them one after the other, and again when they die. */
const notRunning: Failed = { error: 'does not run yet' }

function ask<T>(socketPath: string): Promise<T> {
  return askControl(socketPath, 'status', {}, { signal: AbortSignal.timeout(answerWithinMs) }) as Promise<T>
}

async function orFailed<T>(answer: Promise<T>): Promise<T | Failed> {
  try {
    return await answer
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}

function forPeople(whole: Status): string {
  const { cachedb } = whole
  const { localDataBytes = 0, openBytes = 0, closedBytes = 0 } = cachedb
  const limit = cachedb.cacheBytesMax > 0 ? ` of ${formatSize(cachedb.cacheBytesMax)}` : ''
  const stored = whole.allClosedStored
    ? 'everything closed is stored'
    : `${formatSize(closedBytes)} closed and not stored yet`
  const lines = [
    `${whole.isStopping ? 'ending, was mounted at' : 'mounted at'} ${whole.mount}, state in ${whole.state}`,
    processTable(whole),
    cachedb.error === undefined
      ? `cachedb: ${formatSize(localDataBytes)}${limit} on this disk; ${stored}; ${formatSize(openBytes)} in open segments`
      : `cachedb: ${cachedb.error}`,
    segmentTable(whole.namespaces),
    'error' in whole.stor ? `stor: ${whole.stor.error}` : storText(whole.stor),
    'error' in whole.fs ? `fs: ${whole.fs.error}` : fsText(whole.fs),
  ]
  return `${lines.filter(line => line !== '').join('\n')}\n`
}

function processTable({ processes }: Status): string {
  const table = tableWith(['process', 'pid', 'restarts'])
  for (const { name, pid, restarts } of processes) table.push([name, pid, restarts])
  return table.toString()
}

/** One row per namespace, and one per segment whose note says that something is wrong or under way. */
function segmentTable(namespaces: readonly NamespaceView[]): string {
  const states = ['open', 'closed', 'stored', 'absent'] as const
  const table = tableWith(['namespace', ...states, 'bytes', 'live'])
  const notes: string[] = []
  for (const { name, segments } of namespaces) {
    const sum = (key: 'dataBytes' | 'liveBytes') => formatSize(segments.reduce((total, row) => total + row[key], 0))
    const counts = states.map(state => segments.filter(row => row.state === state).length)
    table.push([name, ...counts, sum('dataBytes'), sum('liveBytes')])
    for (const { id, note } of segments) if (note !== '') notes.push(`${name} d${id}: ${note}`)
  }
  return namespaces.length === 0 ? '' : [table.toString(), ...notes].join('\n')
}

function storText(stor: StatusResult): string {
  const table = tableWith(['backend', 'use', 'group', 'health', 'entries', 'used', 'sync', 'note'])
  for (const { name, use, group, health, entryCount, usedBytes, durability, note } of stor.backends) {
    const used = usedBytes === null ? '?' : formatSize(usedBytes)
    table.push([name, use, use === 'data' ? group : '', health, entryCount, used, durability, note])
  }
  const objects = stor.objectCount === null ? 'objects unknown' : `${stor.objectCount} objects`
  const thin = stor.thinObjectCount ? `, ${stor.thinObjectCount} of them thin` : ''
  const writable = stor.writable ? '' : `; not writable: ${stor.reason}`
  const margin = `${stor.marginLocations} more locations may be lost`
  return `stor: ${objects}${thin}, any ${stor.k} of ${stor.n} shards rebuild one; ${margin}${writable}\n${table.toString()}`
}

/** `--json` has every count. */
export function fsText(fs: FsStatus): string {
  const bytes = (count: number, what: string) => (count > 0 ? [`${formatSize(count)} ${what}`] : [])
  const unwritten = [
    ...bytes(fs.dirtyBytes, 'not written back yet'),
    ...bytes(fs.waitingBytes, 'waiting for room'),
    ...bytes(fs.unsyncedBytes, 'written back and not synced yet'),
  ]
  const parts = [
    unwritten.length > 0 ? unwritten.join(', ') : 'everything is written back',
    `${formatSize(fs.blockCacheBytes)} of blocks in memory`,
    ...(fs.orphans > 0 ? [`${fs.orphans} unlinked files are open or being removed`] : []),
    `${Object.values(fs.requests).reduce((sum, count) => sum + count, 0)} requests from the kernel`,
    ...(fs.transport === 'kernel' ? [] : [`through ${fs.transport}`]),
    ...(fs.flushFailure === null ? [] : [`cannot write back: ${fs.flushFailure}`]),
  ]
  return `fs: ${parts.join('; ')}`
}

function tableWith(head: readonly string[]) {
  return new Table({ head: [...head], style: { head: [], border: [], compact: true } })
}
