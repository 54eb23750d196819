import assert from 'node:assert'
import type { CachedRecord } from '../record-cache.ts'
import {
  areInOrder,
  checkBucket,
  type DirectoryName,
  decodeBucket,
  encodeNames,
  encodeSplit,
  findName,
  freeCookie,
  insertName,
  namesBytesOf,
  removeName,
} from './directory-format.ts'
import { collisionsMax } from './name-hash.ts'

/** One record of a directory: names, or the 16 children they were spread over when there were too many. It is kept as its bytes, which
 *  are looked at in place and replaced by each change: of a directory of a million names much fits in memory, and what the log holds
 *  of it is not there twice. */
export class DirectoryBucket implements CachedRecord {
  readonly key: string
  readonly isPinned = false
  readonly nodeId: number
  readonly path: string
  #bytes: Buffer | null
  #children: number | null = null

  constructor(nodeId: number, path: string, bytes: Buffer | null) {
    this.key = bucketKey(nodeId, path)
    this.nodeId = nodeId
    this.path = path
    this.#bytes = bytes
    if (bytes === null) return
    this.#children = checkBucket(this, bytes)
    // Only a repair has to do with such.
    if (this.#children === null && !areInOrder(bytes)) this.setNames(this.names())
  }

  /** One bit per child that exists; null: the names are here. */
  get children(): number | null {
    return this.#children
  }

  setChildren(children: number): void {
    this.#children = children
    this.#bytes = encodeSplit(this, children)
  }

  /** There are no children any more, and no names yet. */
  clear(): void {
    this.#children = null
    this.#bytes = null
  }

  get isEmpty(): boolean {
    return this.#bytes === null
  }

  /** Bytes of names. */
  get sizeBytes(): number {
    return this.#bytes === null || this.#children !== null ? 0 : namesBytesOf(this.#bytes)
  }

  get memoryBytes(): number {
    return this.#bytes?.length ?? 0
  }

  /** By cookie. */
  names(): DirectoryName[] {
    const stored = decodeBucket(this, this.#bytes)
    return 'names' in stored ? stored.names : []
  }

  setNames(names: readonly DirectoryName[]): void {
    this.#children = null
    this.#bytes = encodeNames(
      this,
      names.toSorted((a, b) => a.cookie - b.cookie),
    )
  }

  find(name: string, hash: number): DirectoryName | null {
    return this.#bytes === null || this.#children !== null ? null : findName(this.#bytes, name, hash)
  }

  /** A cookie of this hash that no name here has; null when all are taken. */
  freeCookie(hash: number): number | null {
    return this.#bytes === null ? hash * collisionsMax : freeCookie(this.#bytes, hash)
  }

  /** Adds a name with a cookie that is free. */
  insert(name: DirectoryName): void {
    assert(this.#children === null)
    this.#bytes = this.#bytes === null ? encodeNames(this, [name]) : insertName(this.#bytes, name)
  }

  /** Takes away a name that was found here. */
  delete(name: DirectoryName): void {
    assert(this.#bytes !== null && this.#children === null)
    this.#bytes = removeName(this.#bytes, name)
  }

  encode(): Buffer | null {
    return this.#bytes
  }
}

export function bucketKey(nodeId: number, path: string): string {
  return `d${nodeId}.${path}`
}
