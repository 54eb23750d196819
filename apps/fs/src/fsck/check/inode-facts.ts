import type { NodeId } from '@qsfs/fuse/filesystem'
import { FileType, type Inode } from '../../tree/inode.ts'

const numbersPerPage = 4096

/** Of 4,096 inode numbers in a row: 22 bytes each. */
class FactsPage {
  readonly types = new Uint8Array(numbersPerPage)
  readonly flags = new Uint8Array(numbersPerPage)
  readonly links = new Uint32Array(numbersPerPage)
  readonly names = new Uint32Array(numbersPerPage)
  readonly subdirectories = new Uint32Array(numbersPerPage)
  readonly namedBy = new Float64Array(numbersPerPage)
}

const Flag = { reachable: 1, walked: 2 } as const
/** Stands for what an unreadable record may hold. */
const unknownType = 255

/** What is known of each inode: found while records are read in any order, compared when all are read. */
export class InodeFacts {
  readonly #pages = new Map<number, FactsPage>()
  count = 0
  highest = 0
  /** Sum over all inodes, as each says. */
  allocatedBytes = 0

  setInode({ nodeId, mode, linkCount, allocatedBytes }: Inode): void {
    this.allocatedBytes += allocatedBytes
    const { page, at } = this.#place(nodeId)
    page.types[at] = (mode & FileType.mask) >>> 12
    page.links[at] = linkCount
    this.count++
    this.highest = Math.max(this.highest, nodeId)
  }
  /** Its record cannot be read: it may or may not exist. */
  setUnknown(nodeId: NodeId): void {
    const { page, at } = this.#place(nodeId)
    page.types[at] = unknownType
    this.highest = Math.max(this.highest, nodeId)
  }

  /** The top 4 of the 16 bits of mode; 0: there is no such inode; null: nobody can say. */
  typeOf(nodeId: NodeId): number | null {
    const type = this.#look(nodeId, page => page.types)
    return type === unknownType ? null : type
  }
  isDirectory(nodeId: NodeId): boolean {
    return this.typeOf(nodeId) === FileType.directory >>> 12
  }
  linksOf(nodeId: NodeId): number {
    return this.#look(nodeId, page => page.links)
  }
  /** Names found. */
  namesOf(nodeId: NodeId): number {
    return this.#look(nodeId, page => page.names)
  }
  subdirectoriesOf(nodeId: NodeId): number {
    return this.#look(nodeId, page => page.subdirectories)
  }
  /** The directory where its first name was found; 0: nowhere. */
  namedBy(nodeId: NodeId): NodeId {
    return this.#look(nodeId, page => page.namedBy)
  }

  addName(directory: NodeId, nodeId: NodeId): void {
    const { page, at } = this.#place(nodeId)
    if (page.names[at] === 0) page.namedBy[at] = directory
    page.names[at]! += 1
    if (!this.isDirectory(nodeId)) return
    const parent = this.#place(directory)
    parent.page.subdirectories[parent.at]! += 1
  }

  *nodeIds(): Generator<NodeId> {
    for (const [number, page] of this.#pages) {
      for (let at = 0; at < numbersPerPage; at++) {
        const type = page.types[at]
        if (type !== 0 && type !== unknownType) yield number * numbersPerPage + at
      }
    }
  }

  /** Goes up from a directory by the names found.
   *  @returns null when it ends at `root`; else the directory where it ends without: one that has no name, or one of a ring */
  climb(from: NodeId, root: NodeId): NodeId | null {
    const trail: NodeId[] = []
    let at = from
    let isReachable = false
    for (;;) {
      const place = this.#place(at)
      const flags = place.page.flags[place.at]!
      isReachable = at === root || (flags & Flag.reachable) !== 0
      if (isReachable || (flags & Flag.walked) !== 0) break
      place.page.flags[place.at] = flags | Flag.walked
      trail.push(at)
      const parent = this.namedBy(at)
      if (parent === 0) break
      at = parent
    }
    if (!isReachable) return trail.includes(at) ? at : null
    for (const nodeId of trail) {
      const place = this.#place(nodeId)
      place.page.flags[place.at]! |= Flag.reachable
    }
    return null
  }

  #place(nodeId: NodeId): { page: FactsPage; at: number } {
    const number = Math.floor(nodeId / numbersPerPage)
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = new FactsPage()
      this.#pages.set(number, page)
    }
    return { page, at: nodeId % numbersPerPage }
  }

  #look(nodeId: NodeId, column: (page: FactsPage) => Uint8Array | Uint32Array | Float64Array): number {
    const page = this.#pages.get(Math.floor(nodeId / numbersPerPage))
    return page === undefined ? 0 : column(page)[nodeId % numbersPerPage]!
  }
}
