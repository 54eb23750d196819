import type { NodeId } from '@qsfs/fuse/filesystem'
import { decodeChunk } from '../../block/extent-format.ts'
import { type ExtentList, lengthOf, windowBytes } from '../../block/extents.ts'
import { isInSpans } from '../../block/file-extents.ts'
import { FormatError } from '../../errors.ts'
import { decodeAttributeRecord } from '../../tree/attribute-format.ts'
import { FileType, type Inode } from '../../tree/inode.ts'
import { decodeInodes, inodesPerRecord } from '../../tree/inode-format.ts'
import type { Repair } from '../findings.ts'
import { parseRecordKey } from '../view/record-keys.ts'
import type { CheckContext } from './check.ts'

const knownTypes: ReadonlySet<number> = new Set([
  FileType.fifo,
  FileType.characterDevice,
  FileType.directory,
  FileType.blockDevice,
  FileType.regular,
  FileType.symlink,
  FileType.socket,
])

/** Every inode by itself: what it says, its attributes, its extents. Fills the facts and the claims on blocks. */
export function checkInodes(context: CheckContext): void {
  const chunks = chunksByInode(context)
  for (const key of context.snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'inodes') continue
    const first = parsed.index * inodesPerRecord
    const inodes = decoded(context, key, bytes => decodeInodes(first, bytes))
    if (inodes === null) {
      for (let slot = 0; slot < inodesPerRecord; slot++) context.facts.setUnknown(first + slot)
      continue
    }
    for (const inode of inodes) {
      if (inode === null) continue
      context.facts.setInode(inode)
      checkInode(context, inode, chunks.get(inode.nodeId) ?? [])
    }
  }
}

/** The record under `key`, decoded; null: it is no such record, and a finding says so. */
export function decoded<T>(
  { snapshot, findings }: CheckContext,
  key: string,
  decode: (bytes: Buffer) => T,
  repair: Repair | null = null,
): T | null {
  try {
    return decode(snapshot.get(key)!)
  } catch (error) {
    // A record too short for its header is a RangeError of the layout.
    if (!(error instanceof FormatError || error instanceof RangeError)) throw error
    findings.add('record-unreadable', `record ${key}`, error.message, { repair })
    return null
  }
}

function chunksByInode({ snapshot }: CheckContext): Map<NodeId, number[]> {
  const chunks = new Map<NodeId, number[]>()
  for (const key of snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'extents') continue
    const known = chunks.get(parsed.nodeId)
    if (known === undefined) chunks.set(parsed.nodeId, [parsed.chunkIndex])
    else known.push(parsed.chunkIndex)
  }
  return chunks
}

function checkInode(context: CheckContext, inode: Inode, chunks: readonly number[]): void {
  const { findings, snapshot } = context
  const { nodeId } = inode
  const subject = `inode ${nodeId}`
  if (!knownTypes.has(inode.type)) findings.add('inode-invalid', subject, `mode ${inode.mode.toString(8)}`, { nodeId })
  if (!inode.isRegular && (chunks.length > 0 || (inode.inlineExtents?.length ?? 0) > 0)) {
    findings.add('inode-invalid', subject, 'it has extents and is no file', { nodeId })
  }
  checkAttributes(context, inode)
  let heldBytes = 0
  let isWhole = true
  for (const chunkIndex of chunks) {
    const key = `e${nodeId}.${chunkIndex}`
    if (!isInSpans(inode.chunkSpans, chunkIndex)) {
      findings.add('record-stray', `record ${key}`, 'its inode knows of no such chunk', { nodeId })
      continue
    }
    const extents = decoded(context, key, bytes => decodeChunk({ ino: nodeId, chunkIndex }, bytes))
    if (extents === null) isWhole = false
    else heldBytes += checkExtents(context, inode, extents)
  }
  if (inode.inlineExtents === null && !isInSpans(inode.chunkSpans, 0)) {
    findings.add('inode-invalid', subject, 'its first chunk is nowhere', { nodeId })
  }
  if (inode.inlineExtents !== null) {
    if (snapshot.has(`e${nodeId}.0`)) findings.add('inode-invalid', subject, 'its first chunk is twice', { nodeId })
    heldBytes += checkExtents(context, inode, inode.inlineExtents)
  }
  if (isWhole && heldBytes !== inode.allocatedBytes) {
    findings.add('allocated-bytes', subject, `${inode.allocatedBytes} counted, ${heldBytes} held`, {
      nodeId,
      repair: ({ inodes }) => {
        const found = inodes.get(nodeId)
        void inodes.numbers
        found.allocatedBytes = heldBytes
        inodes.touch(found)
      },
    })
  }
}

function checkAttributes(context: CheckContext, inode: Inode): void {
  const { findings, snapshot } = context
  const { nodeId } = inode
  const key = `x${nodeId}`
  let attributes = inode.inlineAttributes
  if (attributes === null) {
    if (!snapshot.has(key)) {
      findings.add('attributes-missing', `inode ${nodeId}`, `there is no record ${key}`, { nodeId })
      return
    }
    attributes = decoded(context, key, bytes => decodeAttributeRecord(nodeId, bytes))
  } else if (snapshot.has(key)) {
    findings.add('record-stray', `record ${key}`, 'its inode holds its attributes itself', {
      repair: tree => tree.setRecord(key, null),
    })
  }
  if (attributes !== null && inode.type === FileType.symlink && !attributes.has('')) {
    findings.add('inode-invalid', `inode ${nodeId}`, 'a symbolic link without a target', { nodeId })
  }
}

/** @returns the bytes they hold */
function checkExtents(context: CheckContext, inode: Inode, extents: ExtentList): number {
  const { claims, findings, trimmed, unlinked } = context
  const { nodeId } = inode
  let end = 0
  let windowIndex = -1
  let inWindow = new Map<number, { readonly valueBytes: number; readonly crc: number }>()
  for (const extent of extents) {
    const { id, offset, valueBytes, crc } = extent
    if (offset < end) findings.add('extent-invalid', `inode ${nodeId}`, `two extents hold byte ${offset}`, { nodeId })
    end = Math.max(end, offset + extent.length)
    const window = Math.floor(offset / windowBytes)
    if (window !== windowIndex) {
      windowIndex = window
      inWindow = new Map()
    }
    const known = inWindow.get(id)
    if (known === undefined) {
      inWindow.set(id, extent)
      const other = claims.claim(extent, nodeId)
      if (other !== null) {
        findings.add('block-named-twice', `block ${id}`, `inode ${other} and inode ${nodeId} name it`, { nodeId })
      }
    } else if (known.valueBytes !== valueBytes || known.crc !== crc) {
      findings.add('extent-invalid', `inode ${nodeId}`, `two extents describe block ${id} differently`, { nodeId })
    }
  }
  const isBeingFreed = trimmed.has(nodeId) || unlinked.has(nodeId)
  if (end > inode.storedSizeBytes && !isBeingFreed && inode.isRegular) {
    const detail = `they end at ${end}, the file at ${inode.storedSizeBytes}`
    findings.add('extent-beyond-size', `inode ${nodeId}`, detail, {
      nodeId,
      repair: tree => tree.cutBeyondSize(nodeId),
    })
  }
  return lengthOf(extents)
}
