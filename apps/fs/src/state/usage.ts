import { attempt } from '../tree/attempt.ts'
import { inodesPerRecord } from '../tree/inode-format.ts'
import type { InodeTable } from '../tree/inode-table.ts'
import type { RecordCache } from '../tree/record-cache.ts'

/** Records asked for at once. */
const recordsAtOnce = 256

/** Counts the bytes of all files: once, in a filesystem made before they were counted in the record of numbers. */
export async function countAllocatedBytes(inodes: InodeTable, records: RecordCache): Promise<number> {
  const { nextNodeId } = await attempt(() => inodes.numbers)
  let bytes = 0
  for (let first = 0; first < nextNodeId; first += recordsAtOnce * inodesPerRecord) {
    const end = Math.min(nextNodeId, first + recordsAtOnce * inodesPerRecord)
    const groups = Array.from(
      { length: Math.ceil((end - first) / inodesPerRecord) },
      (_, i) => first + i * inodesPerRecord,
    )
    await inodes.prefetch(groups)
    for (let nodeId = first; nodeId < end; nodeId++) {
      bytes += await attempt(() => inodes.find(nodeId)?.allocatedBytes ?? 0)
    }
    records.trim()
  }
  return bytes
}
