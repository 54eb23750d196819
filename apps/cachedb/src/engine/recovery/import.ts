import { basename, join } from 'node:path'
import { decodeFileHeader, EntryFlag, FileHeader, FormatError } from '../../segment/format.ts'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import { Window } from '../../segment/recover.ts'
import type { Storage } from '../../segment/storage.ts'
import type { EngineContext } from '../context.ts'
import { HookFailed } from '../hooks/hooks.ts'
import { decodeId } from '../keydir/keydir-sequential.ts'
import type { KeyMode, NamespaceSettings } from '../namespace.ts'
import { ZdbIndex } from '../zdb/zdb-index.ts'

/** How directories that 0-db wrote are taken over. */
export interface ZdbSource {
  /** 0-db's index root; null when not told. */
  readonly indexRoot: string | null
  /** Told for all namespaces; null: as the files of each one say. */
  readonly mode: KeyMode | null
}

/** The first records of a namespace: as it was told, or, where data files of 0-db lie, `d0`, `d1`, …, those as closed segments,
 *  with the settings that the index root has. Nothing of 0-db's is changed.
 *  @throws FormatError when they cannot be taken over as a whole */
export async function firstRecords(
  directory: string,
  initial: NamespaceSettings,
  source: ZdbSource,
  context: EngineContext,
): Promise<readonly ManifestRecord[]> {
  const { storage, log } = context
  if (!hasDataFiles(storage, directory)) return [{ type: 'settings', ...initial }]
  const index = source.indexRoot === null ? null : ZdbIndex.open(storage, source.indexRoot, basename(directory))
  if (source.indexRoot !== null && index === null)
    throw new FormatError(`${directory} holds data files, and ${source.indexRoot} knows no such namespace`)
  const segmentIds = await completeFiles(directory, index, context)
  const found = index?.mode ?? modeOf(storage, directory, segmentIds)
  if (found !== null && source.mode !== null && found !== source.mode && (index !== null || found === 'user'))
    throw new FormatError(`${directory} holds a namespace of mode ${found}, not ${source.mode}`)
  const mode = source.mode ?? found ?? initial.mode
  log.event('import.begun', { directory, files: segmentIds.length, mode, hasIndex: index !== null })
  return [
    { type: 'settings', ...initial, ...index?.settings, mode },
    ...segmentIds.flatMap(id => records(directory, id, index, context)),
  ]
}

function hasDataFiles(storage: Storage, directory: string): boolean {
  const names = storage.list(directory).map(({ name }) => name)
  if (names.some(name => /^d\d+$/.test(name))) return true
  if (!names.some(name => name.startsWith('zdb-data-'))) return false
  throw new FormatError(`${directory} holds data files of an older 0-db, which 0-db 2 does not open either`)
}

/** The numbers of all data files, none missing. One that 0-db moved away is fetched by the hook that brought it back for 0-db. */
async function completeFiles(
  directory: string,
  index: ZdbIndex | null,
  { storage, hooks }: EngineContext,
): Promise<readonly number[]> {
  const here = storage
    .list(directory)
    .map(({ name }) => /^d(0|[1-9]\d{0,9})$/.exec(name)?.[1])
    .filter(digits => digits !== undefined)
    .map(Number)
  const count = Math.max(index?.fileCount ?? 0, ...here.map(id => id + 1))
  const isHere = new Set(here)
  if (count - isHere.size > missingMax) throw new FormatError(`${directory} lacks ${count - isHere.size} data files`)
  const all = Array.from({ length: count }, (_, id) => id)
  // 0-db makes an index file first, and may die before the data file is there.
  const isOpening = (id: number) => index !== null && id === count - 1 && !index.knowsValuesIn(id)
  for (const id of all) if (!isHere.has(id) && !isOpening(id)) await fetch(join(directory, `d${id}`))
  return all

  async function fetch(dataPath: string): Promise<void> {
    try {
      await hooks.segmentMissing({ dataPath, hintPath: dataPath.replace(/d(\d+)$/, 'h$1'), objectId: null })
    } catch (error) {
      if (!(error instanceof HookFailed)) throw error
      throw new FormatError(
        `${dataPath} is missing, and without it 0-db's files cannot be taken over: ${error.message}`,
      )
    }
    if (storage.sizeBytes(dataPath) === null) throw new FormatError(`${dataPath} is missing, and the hook left no file`)
  }
}

const missingMax = 1_000_000

function records(
  directory: string,
  segmentId: number,
  index: ZdbIndex | null,
  { storage, log }: EngineContext,
): readonly ManifestRecord[] {
  const path = join(directory, `d${segmentId}`)
  const dataBytes = storage.sizeBytes(path) ?? 0
  // 0-db makes the file before its header, and may die between.
  if (dataBytes < FileHeader.sizeBytes) {
    if (index?.knowsValuesIn(segmentId)) log.error('import.values_lost', { path, dataBytes })
    return []
  }
  if (dataBytes >= 2 ** 32) throw new FormatError(`${path} is longer than 4 GiB, where its places end`)
  using file = storage.openRead(path)
  if (decodeHeader(path, file.readSync(0, FileHeader.sizeBytes)).salt !== null)
    throw new FormatError(`${directory} holds segments of cachedb and no manifest: it was lost`)
  return [
    { type: 'opens', segmentId, salt: 0, previousEndBytes: 0, nextId: 0 },
    { type: 'closed', segmentId, dataBytes, salt: null },
  ]
}

function decodeHeader(path: string, bytes: Buffer): ReturnType<typeof decodeFileHeader> {
  try {
    return decodeFileHeader(bytes)
  } catch (error) {
    throw error instanceof FormatError ? new FormatError(`${path}: ${error.message}`) : error
  }
}

/** So many entries or bytes are looked at: a user namespace whose keys count from 0 on that long was written to look like that. */
const lookedAt = { entries: 4096, bytes: 64 * 1024 * 1024 } as const

/** Without an index the keys tell: sequential ids are 8 bytes, and each is the number of values before it or less.
 *  null when there is no value. */
function modeOf(storage: Storage, directory: string, segmentIds: readonly number[]): KeyMode | null {
  let values = 0
  let leftovers = 0
  let entries = 0
  let bytes = 0
  for (const segmentId of segmentIds) {
    using file = storage.openRead(join(directory, `d${segmentId}`))
    const window = new Window(file, file.sizeBytes)
    let at: number = FileHeader.sizeBytes
    while (entries < lookedAt.entries && bytes < lookedAt.bytes) {
      const flags = window.headerAt(at)?.flags ?? 0
      const entry = window.entryAt(at, null)
      if (entry === null && flags !== (EntryFlag.deleted | EntryFlag.truncated)) break
      const lengthBytes = entry?.lengthBytes ?? 18
      at += lengthBytes
      bytes += lengthBytes
      entries++
      if (entry === null || (flags & EntryFlag.truncated) !== 0) leftovers++
      if (entry === null || entry.deleted) continue
      const id = decodeId(entry.key)
      if (id === null || id > values + leftovers) return 'user'
      values++
    }
  }
  return values > 0 ? 'sequential' : null
}
