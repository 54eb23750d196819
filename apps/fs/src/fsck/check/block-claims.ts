import type { NodeId } from '@qsfs/fuse/filesystem'
import type { Extent } from '../../block/extents.ts'
import type { BlockId } from '../../store/store.ts'

const idsPerPage = 4096

/** Of 4,096 block ids in a row: 21 bytes each. */
class ClaimsPage {
  readonly owners = new Float64Array(idsPerPage)
  readonly sizes = new Uint32Array(idsPerPage)
  readonly checksums = new Uint32Array(idsPerPage)
  readonly references = new Uint32Array(idsPerPage)
  readonly flags = new Uint8Array(idsPerPage)
}

const Flag = { shared: 1, exists: 2, counted: 4 } as const

/** What the first extent that names a block says of it. */
export interface Claim {
  readonly owner: NodeId
  readonly sizeBytes: number
  readonly crc: number
}

/** Which file names which block, and which blocks exist. */
export class BlockClaims {
  readonly #pages = new Map<number, ClaimsPage>()

  /** A window of a file names the block.
   *  @returns the file that named it before, when one of the two does not know that it is shared; else null */
  claim({ id, valueBytes, crc, shared }: Extent, owner: NodeId): NodeId | null {
    const { page, at } = this.#place(id)
    const isFirst = page.references[at] === 0
    const wasShared = (page.flags[at]! & Flag.shared) !== 0
    page.references[at]! += 1
    if (shared) page.flags[at]! |= Flag.shared
    if (isFirst) {
      page.owners[at] = owner
      page.sizes[at] = valueBytes
      page.checksums[at] = crc
      return null
    }
    return wasShared && shared ? null : page.owners[at]!
  }

  /** The block exists.
   *  @returns null: nothing names it */
  markExisting(id: BlockId): Claim | null {
    const { page, at } = this.#place(id)
    page.flags[at]! |= Flag.exists
    if (page.references[at] === 0) return null
    return { owner: page.owners[at]!, sizeBytes: page.sizes[at]!, crc: page.checksums[at]! }
  }

  /** Its references were compared with their count. @returns how many there are */
  markCounted(id: BlockId): number {
    const { page, at } = this.#place(id)
    page.flags[at]! |= Flag.counted
    return page.references[at]!
  }

  /** Every block that a file names. */
  *claimed(): Generator<{ id: BlockId; owner: NodeId; references: number; exists: boolean; isUncounted: boolean }> {
    for (const [number, page] of this.#pages) {
      for (let at = 0; at < idsPerPage; at++) {
        const references = page.references[at]!
        if (references === 0) continue
        const flags = page.flags[at]!
        const isUncounted = (flags & Flag.shared) !== 0 && (flags & Flag.counted) === 0
        const exists = (flags & Flag.exists) !== 0
        yield { id: number * idsPerPage + at, owner: page.owners[at]!, references, exists, isUncounted }
      }
    }
  }

  #place(id: BlockId): { page: ClaimsPage; at: number } {
    const number = Math.floor(id / idsPerPage)
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = new ClaimsPage()
      this.#pages.set(number, page)
    }
    return { page, at: id % idsPerPage }
  }
}
