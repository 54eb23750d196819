import assert from 'node:assert'
import { type DirectoryName, decodeBucket, encodeNames, encodeSplit, nameBytes } from './directory-format.ts'
import { collisionsMax } from './name-hash.ts'
import type { CachedRecord } from './record-cache.ts'

/** One record of a directory: names, or the 16 children they were spread over when there were too many. */
export class DirectoryBucket implements CachedRecord {
  readonly key: string
  readonly isPinned = false
  readonly nodeId: number
  readonly path: string
  /** One bit per child that exists; null: the names are here. */
  children: number | null = null
  readonly #byName = new Map<string, DirectoryName>()
  /** The same, by cookie. */
  #sorted: DirectoryName[] = []
  sizeBytes = 0

  constructor(nodeId: number, path: string, bytes: Buffer | null) {
    this.key = bucketKey(nodeId, path)
    this.nodeId = nodeId
    this.path = path
    const stored = decodeBucket({ nodeId, path }, bytes)
    if ('children' in stored) this.children = stored.children
    else for (const name of stored.names) this.set(name)
  }

  get isEmpty(): boolean {
    return this.children === null ? this.#sorted.length === 0 : this.children === 0
  }

  find(name: string): DirectoryName | undefined {
    return this.#byName.get(name)
  }

  set(name: DirectoryName): void {
    assert(this.children === null)
    this.delete(name.name)
    this.#byName.set(name.name, name)
    this.#sorted.splice(firstFrom(this.#sorted, name.cookie), 0, name)
    this.sizeBytes += nameBytes(name.name)
  }

  delete(name: string): void {
    const found = this.#byName.get(name)
    if (found === undefined) return
    this.#byName.delete(name)
    this.#sorted.splice(this.#sorted.indexOf(found, firstFrom(this.#sorted, found.cookie)), 1)
    this.sizeBytes -= nameBytes(name)
  }

  /** A cookie of this hash that no name here has; null when all are taken. */
  freeCookie(hash: number): number | null {
    const first = hash * collisionsMax
    let free = first
    for (let at = firstFrom(this.#sorted, first); this.#sorted[at]?.cookie === free; at++) free++
    return free < first + collisionsMax ? free : null
  }

  /** By cookie. Valid until the next change. */
  sorted(): readonly DirectoryName[] {
    return this.#sorted
  }

  /** The names leave for the children. */
  split(): readonly DirectoryName[] {
    const names = this.#sorted
    this.#byName.clear()
    this.#sorted = []
    this.sizeBytes = 0
    this.children = 0
    return names
  }

  encode(): Buffer | null {
    return this.children === null ? encodeNames(this, this.sorted()) : encodeSplit(this, this.children)
  }
}

/** Index of the first name with at least this cookie. */
function firstFrom(sorted: readonly DirectoryName[], cookie: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]!.cookie < cookie) low = middle + 1
    else high = middle
  }
  return low
}

export function bucketKey(nodeId: number, path: string): string {
  return `d${nodeId}.${path}`
}
