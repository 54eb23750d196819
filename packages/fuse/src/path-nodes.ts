import { FuseError } from './errno.ts'
import type { Attr, Entry, Filesystem, NodeId, RequestContext } from './filesystem.ts'

const rootNode: NodeId = 1

/** Where a path's last name is to be found. */
export interface Place {
  readonly parent: NodeId
  readonly name: Buffer
}

/** Paths → nodes, for a transport that speaks in paths. Each cached path holds one lookup of its node, given back when
 *  it leaves the cache; so a node that is in use by an open file needs a lookup of its own (see `hold`). */
export class PathNodes {
  readonly #filesystem: Filesystem
  readonly #context: RequestContext
  readonly #pathsMax: number
  /** Least recently used first. */
  readonly #nodes = new Map<string, NodeId>()

  constructor(filesystem: Filesystem, context: RequestContext, { pathsMax }: { readonly pathsMax: number }) {
    this.#filesystem = filesystem
    this.#context = context
    this.#pathsMax = pathsMax
  }

  /** @throws FuseError ENOENT */
  async node(path: string): Promise<NodeId> {
    if (path === '/') return rootNode
    const cached = this.#nodes.get(path)
    if (cached !== undefined) {
      this.#nodes.delete(path)
      this.#nodes.set(path, cached)
      return cached
    }
    const entry = await this.#lookup(path)
    this.remember(path, entry)
    return entry.attr.nodeId
  }

  async place(path: string): Promise<Place> {
    const slash = path.lastIndexOf('/')
    return { parent: await this.node(path.slice(0, slash) || '/'), name: Buffer.from(path.slice(slash + 1)) }
  }

  async attr(path: string): Promise<Attr> {
    return this.#filesystem.getattr(await this.node(path), this.#context)
  }

  /** A lookup of its own, for as long as a file is open. @returns the node; `release` gives it back */
  async hold(path: string): Promise<NodeId> {
    return path === '/' ? rootNode : (await this.#lookup(path)).attr.nodeId
  }

  release(node: NodeId): void {
    if (node !== rootNode) this.#filesystem.forget(node, 1)
  }

  /** Takes over the lookup that came with a new name. */
  remember(path: string, { attr }: Entry): void {
    this.#forget(path)
    this.#nodes.set(path, attr.nodeId)
    for (const oldest of this.#nodes.keys()) {
      if (this.#nodes.size <= this.#pathsMax) return
      this.#forget(oldest)
    }
  }

  /** After an unlink or a rename: the path and all below it mean something else, or nothing. */
  invalidate(path: string): void {
    this.#forget(path)
    const below = `${path}/`
    for (const known of this.#nodes.keys()) if (known.startsWith(below)) this.#forget(known)
  }

  clear(): void {
    for (const path of this.#nodes.keys()) this.#forget(path)
  }

  async #lookup(path: string): Promise<Entry> {
    const { parent, name } = await this.place(path)
    const entry = await this.#filesystem.lookup(parent, name, this.#context)
    if (entry === null) throw new FuseError('ENOENT')
    return entry
  }

  #forget(path: string): void {
    const node = this.#nodes.get(path)
    if (node === undefined) return
    this.#nodes.delete(path)
    this.release(node)
  }
}
