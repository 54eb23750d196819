import assert from 'node:assert'
import { layout } from '@qsfs/bytes/layout'
import { FuseError } from '@qsfs/fuse/errno'
import type { NodeId, Timestamp } from '@qsfs/fuse/filesystem'
import { FormatError } from '../errors.ts'
import { Inode } from './inode.ts'
import { inodesPerRecord } from './inode-format.ts'
import { groupKey, InodeGroup } from './inode-group.ts'
import type { CachedRecord, RecordCache } from './record-cache.ts'

export const rootNodeId = 1

/** docs/formats/inode.md: the record `n`, numbers that are handed out. */
const NumbersLayout = layout('numbers', 40, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  reserved: [6, 'u16'],
  nextNodeId: [8, 'u53'],
  inodeCount: [16, 'u53'],
  orphanRecordCount: [24, 'u53'],
  allocatedBytes: [32, 'u53'],
})
const numbersMagic = Buffer.from('QNUM')
const numbersVersion = 2
/** Version 1 ends here: it did not count bytes. */
const bytesOfVersion1 = 32

/** The next inode number, and counts that no single other record knows. */
export class Numbers implements CachedRecord {
  readonly key = 'n'
  readonly isPinned = true
  readonly memoryBytes = 100
  nextNodeId = rootNodeId
  inodeCount = 0
  orphanRecordCount = 0
  /** Bytes that the extents of all inodes hold. */
  allocatedBytes = 0
  /** False in a filesystem of version 1, until somebody has counted `allocatedBytes`. */
  isCounted = true

  constructor(bytes: Buffer | null) {
    if (bytes === null) return
    const isVersion1 = bytes.length === bytesOfVersion1
    const whole = isVersion1 ? Buffer.concat([bytes, Buffer.alloc(NumbersLayout.sizeBytes - bytes.length)]) : bytes
    const { magic, version, reserved, ...numbers } = NumbersLayout.decode(whole)
    if (!magic.equals(numbersMagic) || version !== (isVersion1 ? 1 : numbersVersion)) {
      throw new FormatError('numbers', 'not version 1 or 2')
    }
    Object.assign(this, numbers, { isCounted: !isVersion1 })
  }
  encode(): Buffer {
    const { nextNodeId, inodeCount, orphanRecordCount, allocatedBytes } = this
    const numbers = { nextNodeId, inodeCount, orphanRecordCount, allocatedBytes }
    return NumbersLayout.toBuffer({ magic: numbersMagic, version: numbersVersion, reserved: 0, ...numbers })
  }
}

/** All inodes by number, and how often the kernel holds each. Looks may throw NotLoaded. */
export class InodeTable {
  readonly #cache: RecordCache
  readonly #inodesMax: number
  readonly #lookGivenBack: () => void
  readonly #lookupCounts = new Map<NodeId, number>()
  /** An earlier process of this mount gave out nodes, and nobody knows how often. */
  #isResumed = false

  /** @param inodesMax no more are made
   *  @param lookGivenBack throws NotLoaded while inodes that were deleted still count */
  constructor(cache: RecordCache, inodesMax = Number.POSITIVE_INFINITY, lookGivenBack: () => void = () => undefined) {
    this.#cache = cache
    this.#inodesMax = inodesMax
    this.#lookGivenBack = lookGivenBack
  }

  get inodesMax(): number {
    return this.#inodesMax
  }

  /** @throws FuseError ESTALE when there is no such inode; NotLoaded */
  get(nodeId: NodeId): Inode {
    const inode = this.find(nodeId)
    if (inode === null) throw new FuseError('ESTALE', `there is no inode ${nodeId}`)
    return inode
  }

  find(nodeId: NodeId): Inode | null {
    const group = this.#group(nodeId)
    const known = group.known(nodeId)
    if (known !== undefined) return known
    const inode = group.decode(nodeId)
    // It may have left memory before the transaction that names its bytes was stored.
    if (inode !== null) inode.bytesNamedInSeq = this.#cache.runningSeq
    this.#cache.grew(group)
    return inode
  }

  /** As `get`, for a look at an inode that nobody keeps or changes: it is not kept decoded. */
  peek(nodeId: NodeId): Inode {
    const inode = this.#group(nodeId).peek(nodeId)
    if (inode === null) throw new FuseError('ESTALE', `there is no inode ${nodeId}`)
    return inode
  }

  /** Starts to load what is missing of these; null when all are in memory. */
  prefetch(nodeIds: Iterable<NodeId>): Promise<void> | null {
    const wanted = new Map<number, readonly [string, (bytes: Buffer | null) => CachedRecord]>()
    for (const nodeId of nodeIds) {
      const first = nodeId - (nodeId % inodesPerRecord)
      if (!wanted.has(first)) wanted.set(first, [groupKey(first), bytes => new InodeGroup(first, bytes)])
    }
    return this.#cache.prefetch(wanted.values())
  }

  get numbers(): Numbers {
    return this.#cache.get('n', decodeNumbers) as Numbers
  }

  /** Looks at all that `create` will change. Call it before the first change of an operation.
   *  @returns the number of the inode to be
   *  @throws FuseError ENOSPC when there are as many as there may be */
  prepareCreate(): NodeId {
    const { nextNodeId, inodeCount } = this.numbers
    if (inodeCount >= this.#inodesMax) {
      this.#lookGivenBack()
      throw new FuseError('ENOSPC', `there are ${inodeCount} inodes, the quota`)
    }
    // Numbers go up only, so this record was never written: no need to ask for it.
    if (nextNodeId === rootNodeId) this.#cache.put(new InodeGroup(0, null))
    else if (nextNodeId % inodesPerRecord === 0) this.#cache.put(new InodeGroup(nextNodeId, null))
    this.#group(nextNodeId)
    return nextNodeId
  }

  /** A new inode with the next number; the caller sets what is not zero. */
  create(mode: number, now: Timestamp): Inode {
    const numbers = this.numbers
    const nodeId = numbers.nextNodeId
    const group = this.#group(nodeId)
    const inode = new Inode(nodeId, mode, now)
    group.set(nodeId, inode)
    numbers.nextNodeId = nodeId + 1
    numbers.inodeCount++
    this.#cache.touch(numbers)
    this.#cache.touch(group)
    return inode
  }

  /** The inode changed, and joins the running transaction. */
  touch(inode: Inode): void {
    const group = this.#group(inode.nodeId)
    assert(group.known(inode.nodeId) === inode, `inode ${inode.nodeId} was let go and is changed`)
    group.changed(inode.nodeId)
    this.#cache.touch(group)
    if (inode.allocatedBytes !== inode.countedBytes) this.#count(inode, inode.allocatedBytes)
  }

  /** Look before `remove`, as with `prepareCreate`. */
  remove(inode: Inode): void {
    const group = this.#group(inode.nodeId)
    group.set(inode.nodeId, null)
    this.numbers.inodeCount--
    this.#count(inode, 0)
    this.#cache.touch(group)
  }

  #count(inode: Inode, bytes: number): void {
    this.numbers.allocatedBytes += bytes - inode.countedBytes
    inode.countedBytes = bytes
    this.#cache.touch(this.numbers)
  }

  touchNumbers(): void {
    this.#cache.touch(this.numbers)
  }

  /** The kernel got another reference to the node. */
  raiseLookups(nodeId: NodeId): void {
    this.#lookupCounts.set(nodeId, (this.#lookupCounts.get(nodeId) ?? 0) + 1)
  }

  /** @returns true when the kernel holds the node no more */
  dropLookups(nodeId: NodeId, count: number): boolean {
    const left = (this.#lookupCounts.get(nodeId) ?? 0) - count
    if (left > 0) {
      this.#lookupCounts.set(nodeId, left)
      return false
    }
    this.#lookupCounts.delete(nodeId)
    return true
  }

  resume(): void {
    this.#isResumed = true
  }

  /** A node is losing its last name. Whoever takes a name away has looked it up: so the kernel holds the node, also when it
   *  got it from an earlier process, and sends a FORGET for all of it at the end. */
  noteUnlinked(nodeId: NodeId): void {
    if (this.#isResumed && !this.#lookupCounts.has(nodeId)) this.#lookupCounts.set(nodeId, 1)
  }

  isHeld(nodeId: NodeId): boolean {
    return this.#lookupCounts.has(nodeId)
  }

  #group(nodeId: NodeId): InodeGroup {
    const first = nodeId - (nodeId % inodesPerRecord)
    return this.#cache.get(groupKey(first), bytes => new InodeGroup(first, bytes)) as InodeGroup
  }
}

const decodeNumbers = (bytes: Buffer | null): Numbers => new Numbers(bytes)
