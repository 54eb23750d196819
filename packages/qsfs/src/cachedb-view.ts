import { readFileSync } from 'node:fs'
import type { SegmentInfo, SegmentState } from '@qsfs/protocol/cachedb-commands'
import { type Reply, RespClient } from '@qsfs/resp/client'

/** One namespace of a cachedb and its segments. */
export interface NamespaceView {
  readonly name: string
  readonly segments: readonly SegmentInfo[]
}

/** How much of what was written exists only on this machine. */
export interface Dispersal {
  /** Everything closed is stored. */
  readonly allClosedStored: boolean
  readonly openBytes: number
  readonly closedBytes: number
  readonly localDataBytes: number
}

/** How long cachedb may be silent before it counts as hanging. */
const answerWithinMs = 10_000

export interface CachedbAccess {
  readonly address: string
  /** Its first line is the password. */
  readonly adminPasswordFile?: string | undefined
}

/** Connects as an onlooker: it owns nothing and changes nothing. */
export function connectCachedb({ address, adminPasswordFile }: CachedbAccess): Promise<RespClient> {
  const adminPassword = adminPasswordFile === undefined ? {} : { adminPassword: firstLineOf(adminPasswordFile) }
  return RespClient.connect({
    address,
    ...adminPassword,
    connectTimeoutMs: answerWithinMs,
    commandTimeoutMs: answerWithinMs,
  })
}

function firstLineOf(path: string): string {
  return readFileSync(path, 'utf8').split('\n', 1)[0]!
}

/** Every namespace that can be selected without a password, with its segments. */
export async function viewNamespaces(client: RespClient): Promise<NamespaceView[]> {
  const views: NamespaceView[] = []
  for (const name of await namespaceNames(client)) {
    await client.call('SELECT', name)
    views.push({ name, segments: parseSegments(await client.call('SEGMENTS')) })
  }
  return views
}

export async function namespaceNames(client: RespClient): Promise<string[]> {
  const names = await client.call('NSLIST')
  if (!Array.isArray(names)) throw new TypeError('NSLIST answers an array')
  return names.map(String)
}

export function dispersalOf(namespaces: readonly NamespaceView[]): Dispersal {
  const segments = namespaces.flatMap(({ segments }) => segments)
  const bytesOf = (chosen: readonly SegmentInfo[]) => chosen.reduce((sum, { dataBytes }) => sum + dataBytes, 0)
  const open = namespaces.flatMap(({ segments }) => segments.toSorted((a, b) => a.id - b.id).slice(-1))
  // One that was rotated away is `open` until it is synced; it counts as closed here.
  const closed = segments.filter(row => row.state === 'closed' || (row.state === 'open' && !open.includes(row)))
  return {
    allClosedStored: closed.length === 0,
    openBytes: bytesOf(open.filter(({ state, liveBytes }) => state === 'open' && liveBytes > 0)),
    closedBytes: bytesOf(closed),
    localDataBytes: bytesOf(segments.filter(({ local }) => local)),
  }
}

/** Rows of [id, state, dataBytes, liveBytes, objectId or nil, local 0|1, note]. */
function parseSegments(reply: Reply): SegmentInfo[] {
  if (!Array.isArray(reply)) throw new TypeError('SEGMENTS answers an array')
  return reply.map(row => {
    if (!Array.isArray(row) || row.length !== 7) throw new TypeError('a segment has seven fields')
    const [id, state, dataBytes, liveBytes, objectId, local, note] = row
    return {
      id: Number(id),
      state: String(state) as SegmentState,
      dataBytes: Number(dataBytes),
      liveBytes: Number(liveBytes),
      objectId: objectId === null ? null : String(objectId),
      local: Number(local) === 1,
      note: String(note),
    }
  })
}
