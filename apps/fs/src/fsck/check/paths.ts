import type { NodeId } from '@qsfs/fuse/filesystem'
import { bucketKey } from '../../tree/directory/directory-bucket.ts'
import { type DirectoryName, decodeBucket } from '../../tree/directory/directory-format.ts'
import { rootNodeId } from '../../tree/inode-table.ts'
import type { RecordSnapshot } from '../view/record-snapshot.ts'
import { childPaths } from './check-directories.ts'
import type { InodeFacts } from './inode-facts.ts'

/** Looking for a name reads its whole directory, so only so many are looked for. */
const looksMax = 200
const depthMax = 1000

/** Paths of inodes, for people. */
export class Paths {
  readonly #snapshot: RecordSnapshot
  readonly #facts: InodeFacts
  #looksLeft = looksMax

  constructor(snapshot: RecordSnapshot, facts: InodeFacts) {
    this.#snapshot = snapshot
    this.#facts = facts
  }

  /** null: no path leads there, or too many were asked for already. */
  of(nodeId: NodeId): string | null {
    const names: string[] = []
    for (let at = nodeId; at !== rootNodeId; ) {
      const directory = this.#facts.namedBy(at)
      if (directory === 0 || names.length > depthMax || this.#looksLeft-- <= 0) return null
      const name = this.#nameIn(directory, '', at)
      if (name === null) return null
      names.push(Buffer.from(name, 'latin1').toString())
      at = directory
    }
    return `/${names.reverse().join('/')}`
  }

  #nameIn(directory: NodeId, path: string, nodeId: NodeId): string | null {
    const stored = this.#bucket(directory, path)
    if ('names' in stored) return stored.names.find(entry => entry.nodeId === nodeId)?.name ?? null
    for (const child of childPaths(path, stored.children)) {
      const name = this.#nameIn(directory, child, nodeId)
      if (name !== null) return name
    }
    return null
  }

  /** What cannot be read has a finding of its own. */
  #bucket(nodeId: NodeId, path: string): { children: number } | { names: readonly DirectoryName[] } {
    try {
      return decodeBucket({ nodeId, path }, this.#snapshot.get(bucketKey(nodeId, path)))
    } catch {
      return { names: [] }
    }
  }
}
