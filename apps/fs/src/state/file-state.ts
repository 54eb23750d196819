import { formatSize } from '@qsfs/bytes/units'
import { FuseError } from '@qsfs/fuse/errno'
import type { NodeId } from '@qsfs/fuse/filesystem'
import { chunkBytes } from '../block/extent-format.ts'
import type { Volume } from '../ops/volume.ts'
import type { BlockId } from '../store/store.ts'
import { attempt } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import type { Margin } from './dispersal.ts'
import type { SegmentPlace } from './segment-states.ts'

/** Where the bytes of a file, or of all files below a directory, are. A block counts once per file. */
export interface PlaceCounts {
  files: number
  directories: number
  /** Held by extents, and in the write buffer. */
  bytes: number
  bufferedBytes: number
  blocks: number
  /** In a segment that is still written. */
  open: number
  /** In a segment that is full and not stored yet. */
  closed: number
  /** In a segment that is on the backends. */
  stored: number
  /** Of those: not on this machine. */
  absent: number
}

export interface FileState {
  readonly counts: PlaceCounts
  /** Segments that hold them. */
  readonly segmentCount: number
  /** Of the thinnest object; null: not everything is stored, or nobody can say. */
  readonly margin: Margin | null
}

export interface Places {
  /** Where blocks lie; null: deleted meanwhile. */
  of(ids: readonly BlockId[]): Promise<readonly (SegmentPlace | null)[]>
  /** null: there is nobody to ask. */
  readonly marginOf: ((objectIds: ReadonlySet<string>) => Promise<Margin>) | null
}

/** Extended attributes that are computed when somebody asks. They are not listed: what copies attributes would copy them. */
export const StateAttribute = { state: 'user.qsfs.state', blocks: 'user.qsfs.blocks' } as const
const names: ReadonlySet<string> = new Set(Object.values(StateAttribute))

export function isStateAttribute(name: string): boolean {
  return names.has(name)
}

/** Blocks asked for at once: memory of a walk over large files. */
const blocksAtOnce = 4096

/** Says what became of bytes: in memory, on this disk, on the backends. */
export class FileStates {
  readonly #volume: Volume
  readonly #places: Places

  constructor(volume: Volume, places: Places) {
    this.#volume = volume
    this.#places = places
  }

  /** The value of one of the attributes.
   *  @throws FuseError ENODATA when this is no file, EAGAIN when the server cannot be asked now */
  async attribute(nodeId: NodeId, name: string): Promise<Buffer> {
    const inode = await attempt(() => this.#volume.inodes.get(nodeId))
    if (!inode.isRegular) throw new FuseError('ENODATA')
    try {
      const state = await this.of([nodeId])
      return Buffer.from(name === StateAttribute.state ? stateText(state) : blocksText(state))
    } catch (cause) {
      throw new FuseError('EAGAIN', `nobody says where the bytes of inode ${nodeId} are`, { cause })
    }
  }

  /** Of these and of all below them. */
  async of(nodeIds: readonly NodeId[], signal?: AbortSignal): Promise<FileState> {
    const counter = new Counter(this.#places)
    const waiting = [...nodeIds]
    for (let nodeId = waiting.pop(); nodeId !== undefined; nodeId = waiting.pop()) {
      signal?.throwIfAborted()
      const inode = await attempt(() => this.#volume.inodes.find(nodeId!))
      if (inode === null) continue
      if (inode.isDirectory) {
        counter.counts.directories++
        const children = await attempt(() => [...this.#volume.directories.list(inode, 0)].map(name => name.nodeId))
        for (const child of children) waiting.push(child)
      } else {
        counter.counts.files++
        await this.#count(inode, counter)
      }
    }
    return counter.finish()
  }

  async #count(inode: Inode, counter: Counter): Promise<void> {
    const { extents } = this.#volume
    counter.addFile(inode)
    for (const chunk of extents.chunksFrom(inode, 0)) {
      const list = await attempt(() => extents.at(inode, chunk * chunkBytes))
      await counter.addBlocks(new Set(list.map(({ id }) => id)))
    }
  }
}

class Counter {
  readonly counts: PlaceCounts = {
    files: 0,
    directories: 0,
    bytes: 0,
    bufferedBytes: 0,
    blocks: 0,
    open: 0,
    closed: 0,
    stored: 0,
    absent: 0,
  }
  readonly #places: Places
  readonly #segments = new Set<number>()
  readonly #objects = new Set<string>()
  #waiting: BlockId[] = []

  constructor(places: Places) {
    this.#places = places
  }

  addFile(inode: Inode): void {
    const bufferedBytes = inode.buffer?.dirtyBytes ?? 0
    this.counts.bytes += inode.allocatedBytes + bufferedBytes
    this.counts.bufferedBytes += bufferedBytes
  }

  async addBlocks(ids: ReadonlySet<BlockId>): Promise<void> {
    for (const id of ids) this.#waiting.push(id)
    if (this.#waiting.length >= blocksAtOnce) await this.#ask()
  }

  async finish(): Promise<FileState> {
    await this.#ask()
    const { counts } = this
    const mayAsk = this.#places.marginOf !== null && counts.stored > 0 && weakest(counts) === 'stored'
    const margin = mayAsk ? await this.#places.marginOf!(this.#objects) : null
    return { counts, segmentCount: this.#segments.size, margin }
  }

  async #ask(): Promise<void> {
    const ids = this.#waiting
    this.#waiting = []
    for (const place of await this.#places.of(ids)) {
      if (place === null) continue
      const { counts } = this
      counts.blocks++
      this.#segments.add(place.id)
      if (place.state === 'open') counts.open++
      else if (place.objectId === null) counts.closed++
      else {
        counts.stored++
        this.#objects.add(place.objectId)
        if (!place.isLocal) counts.absent++
      }
    }
  }
}

/** The state of the part that is worst off. */
export function weakest({ bytes, bufferedBytes, open, closed }: PlaceCounts): 'empty' | 'local' | 'closed' | 'stored' {
  if (bytes === 0) return 'empty'
  if (bufferedBytes > 0 || open > 0) return 'local'
  return closed > 0 ? 'closed' : 'stored'
}

/** `local`, `closed`, `dispersed 6/6, survives 2`. */
export function stateText({ counts, margin }: FileState): string {
  const state = weakest(counts)
  if (state !== 'stored' || margin === null) return state
  const { confirmed, wanted, survives } = margin
  return `dispersed ${confirmed}/${wanted}, ${survives < 0 ? 'cannot be read' : `survives ${survives}`}`
}

/** `12 blocks, 1.5 MiB, in 2 segments: 3 local, 9 stored, 5 of them not on this disk`. */
export function blocksText({ counts, segmentCount }: FileState): string {
  const { blocks, bytes, bufferedBytes, open, closed, stored, absent } = counts
  const parts = [
    ...(bufferedBytes > 0 ? [`${formatSize(bufferedBytes)} in memory`] : []),
    ...(open > 0 ? [`${open} local`] : []),
    ...(closed > 0 ? [`${closed} closed`] : []),
    ...(stored > 0 ? [`${stored} stored`] : []),
    ...(absent > 0 ? [`${absent} of them not on this disk`] : []),
  ]
  const summary = `${blocks} blocks, ${formatSize(bytes)}, in ${segmentCount} segments`
  return parts.length === 0 ? summary : `${summary}: ${parts.join(', ')}`
}
