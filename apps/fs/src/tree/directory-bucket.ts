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
  #names = new Map<string, DirectoryName>()
  #sorted: readonly DirectoryName[] | null = null
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
    return this.children === null ? this.#names.size === 0 : this.children === 0
  }

  find(name: string): DirectoryName | undefined {
    return this.#names.get(name)
  }

  set(name: DirectoryName): void {
    assert(this.children === null)
    if (!this.#names.has(name.name)) this.sizeBytes += nameBytes(name.name)
    this.#names.set(name.name, name)
    this.#sorted = null
  }

  delete(name: string): void {
    if (!this.#names.delete(name)) return
    this.sizeBytes -= nameBytes(name)
    this.#sorted = null
  }

  /** A cookie of this hash that no name here has; null when all are taken. */
  freeCookie(hash: number): number | null {
    const taken = new Set<number>()
    for (const { cookie } of this.#names.values()) taken.add(cookie)
    for (let cookie = hash * collisionsMax; cookie < (hash + 1) * collisionsMax; cookie++) {
      if (!taken.has(cookie)) return cookie
    }
    return null
  }

  /** By cookie. */
  sorted(): readonly DirectoryName[] {
    this.#sorted ??= [...this.#names.values()].sort((a, b) => a.cookie - b.cookie)
    return this.#sorted
  }

  /** The names leave for the children. */
  split(): readonly DirectoryName[] {
    const names = this.sorted()
    this.#names = new Map()
    this.#sorted = null
    this.sizeBytes = 0
    this.children = 0
    return names
  }

  encode(): Buffer | null {
    return this.children === null ? encodeNames(this, this.sorted()) : encodeSplit(this, this.children)
  }
}

export function bucketKey(nodeId: number, path: string): string {
  return `d${nodeId}.${path}`
}
