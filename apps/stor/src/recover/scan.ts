import { type Backend, getOrNull, type PieceId } from '../backend/backend.ts'
import { StorError } from '../errors.ts'
import { looksLikeSuperblock } from '../metadata/superblock.ts'
import { decodeShardHeader, objectIdOfValue, PieceHeader } from '../pipeline/piece.ts'

/** One value that says which piece it is. A backend's word: nothing of it was checked yet. */
export interface Sighting {
  readonly backend: Backend
  readonly id: PieceId
  readonly shardIndex: number
}

/** What was seen of one object. */
export interface FoundObject {
  readonly objectId: Buffer
  /** By frame number. */
  readonly pieces: Map<number, Sighting[]>
  /** Of first pieces. */
  readonly headers: { readonly sighting: Sighting; readonly startedMs: number }[]
}

export interface ScanResult {
  readonly objects: ReadonlyMap<string, FoundObject>
  /** Copies of superblocks, of whatever store. */
  readonly superblocks: readonly Buffer[]
  readonly valueCount: number
  /** Data backends that did not answer, or not to the end. */
  readonly unread: readonly string[]
}

/** Reads every value of every data backend once and notes what it says it is. Memory: some tens of bytes per piece.
 *  @throws only the signal's reason, and what is a bug */
export async function scanBackends(
  backends: readonly Backend[],
  { signal, onValue = () => undefined }: { readonly signal?: AbortSignal; readonly onValue?: () => void } = {},
): Promise<ScanResult> {
  const options = { signal }
  const objects = new Map<string, FoundObject>()
  const superblocks: Buffer[] = []
  const unread: string[] = []
  let valueCount = 0
  const scan = async (backend: Backend) => {
    try {
      for await (const ids of backend.list(options)) {
        for (const id of ids) {
          const value = await getOrNull(backend, id, options)
          onValue()
          if (value === null) continue
          valueCount++
          if (looksLikeSuperblock(value)) superblocks.push(value)
          else note(objects, backend, id, value)
        }
      }
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof StorError)) throw error
      unread.push(backend.name)
    }
  }
  await Promise.all(backends.map(scan))
  return { objects, superblocks, valueCount, unread }
}

/** The piece in a value, and the shard header before it if there is one; null when it is neither.
 *  Nothing of it is authenticated. */
export function parsePiece(value: Buffer) {
  const objectId = objectIdOfValue(value)
  if (objectId === null) return null
  try {
    const isFirst = value.toString('latin1', 0, 4) === 'QSSH'
    const { shard, headerBytes } = isFirst ? decodeShardHeader(value) : { shard: null, headerBytes: 0 }
    const piece = value.subarray(headerBytes)
    if (piece.length < PieceHeader.sizeBytes) return null
    const header = PieceHeader.decode(piece)
    if (!header.objectId.equals(objectId)) return null
    return { objectId: Buffer.from(objectId), shard, headerBytes, piece, header }
  } catch (error) {
    if (error instanceof StorError && error.reason === 'damaged') return null
    throw error
  }
}

function note(objects: Map<string, FoundObject>, backend: Backend, id: PieceId, value: Buffer): void {
  const parsed = parsePiece(value)
  if (parsed === null) return
  const { objectId, shard, header } = parsed
  const found = objects.getOrInsertComputed(objectId.toString('hex'), () => {
    return { objectId, pieces: new Map(), headers: [] }
  })
  const sighting = { backend, id, shardIndex: header.shardIndex }
  found.pieces.getOrInsertComputed(header.frameNumber, () => []).push(sighting)
  if (shard !== null) found.headers.push({ sighting, startedMs: shard.startedMs })
}
