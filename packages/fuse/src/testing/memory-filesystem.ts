import { FuseError } from '../errno.ts'
import type {
  Attr,
  AttrChange,
  CreatedFile,
  Entry,
  Filesystem,
  FilesystemStats,
  FillDirectory,
  NodeId,
  OpenFile,
  RequestContext,
  Timestamp,
  WriteFlags,
} from '../filesystem.ts'

const typeMask = 0o170000
const directoryType = 0o40000
const symlinkType = 0o120000
const renameNoReplace = 1
const renameExchange = 2
const xattrCreate = 1
const xattrReplace = 2
const directIo = 1
const keepCache = 2
const setuid = 0o4000
const setgid = 0o2000
const groupExecute = 0o010
const opened: OpenFile = { fh: 0, openFlags: keepCache }

interface Node {
  attr: Attr
  bytes: Buffer
  readonly xattrs: Map<string, Buffer>
  readonly children: Map<string, { readonly cursor: bigint; readonly node: Node }>
  parent: Node
}

/** A small filesystem that does real things in memory, for tests of what serves it. Names are kept as latin1 strings.
 *  Reading a file called `hang`, in the root, waits until the caller is interrupted. It is read directly: the kernel
 *  sends INTERRUPT for what a caller waits for itself, not for what its page cache reads ahead. */
export class MemoryFilesystem implements Filesystem {
  /** References the kernel holds, by node; a node without any is not in it. */
  readonly lookupCounts = new Map<NodeId, number>()
  destroyed = false
  readonly #nodes = new Map<NodeId, Node>()
  readonly #root: Node
  #nextNode = 2
  #nextCursor = 3n

  constructor() {
    this.#root = this.#make(1, directoryType | 0o755, 0, { uid: 0, gid: 0 }, null)
  }

  destroy(): void {
    this.destroyed = true
  }

  lookup(parent: NodeId, name: Buffer): Entry | null {
    const child = this.#at(parent).children.get(name.toString('latin1'))
    return child === undefined ? null : this.#refer(child.node)
  }

  forget(node: NodeId, count: number): void {
    const left = (this.lookupCounts.get(node) ?? 0) - count
    if (left < 0) throw new FuseError('EIO', `node ${node} is forgotten ${-left} times too often`)
    if (left > 0) {
      this.lookupCounts.set(node, left)
      return
    }
    this.lookupCounts.delete(node)
    if (this.#nodes.get(node)?.attr.linkCount === 0) this.#nodes.delete(node)
  }

  getattr(node: NodeId): Attr {
    return this.#at(node).attr
  }

  setattr(nodeId: NodeId, change: AttrChange): Attr {
    const node = this.#at(nodeId)
    const { attr } = node
    if (change.sizeBytes !== undefined) this.#resize(node, change.sizeBytes)
    if (change.killPrivileges) this.#dropPrivileges(node)
    const at = (when: Timestamp | 'now' | undefined, old: Timestamp) => (when === 'now' ? now() : (when ?? old))
    node.attr = {
      ...node.attr,
      mode: change.mode === undefined ? node.attr.mode : (attr.mode & typeMask) | (change.mode & ~typeMask),
      uid: change.uid ?? attr.uid,
      gid: change.gid ?? attr.gid,
      atime: at(change.atime, attr.atime),
      mtime: at(change.mtime, attr.mtime),
      ctime: change.ctime ?? now(),
    }
    return node.attr
  }

  readlink(node: NodeId): Buffer {
    return this.#at(node).bytes
  }

  mknod(parent: NodeId, name: Buffer, mode: number, rdev: number, context: RequestContext): Entry {
    return this.#refer(this.#add(parent, name, node => this.#make(node, mode, rdev, context, this.#at(parent))))
  }

  mkdir(parent: NodeId, name: Buffer, mode: number, context: RequestContext): Entry {
    return this.mknod(parent, name, mode, 0, context)
  }

  symlink(parent: NodeId, name: Buffer, target: Buffer, context: RequestContext): Entry {
    const entry = this.mknod(parent, name, symlinkType | 0o777, 0, context)
    const node = this.#at(entry.attr.nodeId)
    node.bytes = Buffer.from(target)
    node.attr = { ...node.attr, sizeBytes: target.length }
    return { attr: node.attr, generation: 0 }
  }

  link(nodeId: NodeId, newParent: NodeId, newName: Buffer): Entry {
    const node = this.#add(newParent, newName, () => this.#at(nodeId))
    this.#countLinks(node, 1)
    return this.#refer(node)
  }

  create(parent: NodeId, name: Buffer, mode: number, _flags: number, context: RequestContext): CreatedFile {
    return { ...this.mknod(parent, name, mode, 0, context), ...opened }
  }

  unlink(parent: NodeId, name: Buffer): void {
    const { children } = this.#at(parent)
    const child = children.get(name.toString('latin1'))
    if (child === undefined) throw new FuseError('ENOENT')
    children.delete(name.toString('latin1'))
    this.#countLinks(child.node, isDirectory(child.node) ? -2 : -1)
  }

  rmdir(parent: NodeId, name: Buffer): void {
    const child = this.#at(parent).children.get(name.toString('latin1'))
    if (child !== undefined && child.node.children.size > 0) throw new FuseError('ENOTEMPTY')
    this.unlink(parent, name)
  }

  rename(parent: NodeId, name: Buffer, newParent: NodeId, newName: Buffer, flags: number): void {
    const [from, to] = [this.#at(parent), this.#at(newParent)]
    const [oldKey, newKey] = [name.toString('latin1'), newName.toString('latin1')]
    const moved = from.children.get(oldKey)
    const replaced = to.children.get(newKey)
    if (moved === undefined) throw new FuseError('ENOENT')
    if (flags === renameNoReplace && replaced !== undefined) throw new FuseError('EEXIST')
    if (flags === renameExchange) {
      if (replaced === undefined) throw new FuseError('ENOENT')
      from.children.set(oldKey, { cursor: moved.cursor, node: replaced.node })
      to.children.set(newKey, { cursor: replaced.cursor, node: moved.node })
      return
    }
    if (replaced !== undefined) {
      if (isDirectory(replaced.node)) this.rmdir(newParent, newName)
      else this.unlink(newParent, newName)
    }
    from.children.delete(oldKey)
    to.children.set(newKey, { cursor: this.#nextCursor++, node: moved.node })
    moved.node.parent = to
  }

  open(node: NodeId): OpenFile {
    return this.#hangs(this.#at(node)) ? { fh: 0, openFlags: directIo } : opened
  }

  read(nodeId: NodeId, _fh: number, offsetBytes: number, sizeBytes: number, context: RequestContext) {
    const node = this.#at(nodeId)
    if (this.#hangs(node)) return interrupted(context.signal)
    return [node.bytes.subarray(offsetBytes, Math.min(offsetBytes + sizeBytes, node.attr.sizeBytes))]
  }

  write(nodeId: NodeId, _fh: number, offsetBytes: number, data: Buffer, flags: WriteFlags): void {
    const node = this.#at(nodeId)
    if (flags.killPrivileges) this.#dropPrivileges(node)
    if (offsetBytes + data.length > node.attr.sizeBytes) this.#resize(node, offsetBytes + data.length)
    data.copy(node.bytes, offsetBytes)
  }

  fsync(): void {}
  release(): void {}
  fsyncdir(): void {}
  releasedir(): void {}

  opendir(): OpenFile {
    return { fh: 0, openFlags: 0 }
  }

  readdir(nodeId: NodeId, _fh: number, after: bigint, withEntries: boolean, fill: FillDirectory): void {
    const node = this.#at(nodeId)
    if (after < 1n && !fill(Buffer.from('.'), nodeId, directoryType, 1n, null)) return
    if (after < 2n && !fill(Buffer.from('..'), node.parent.attr.nodeId, directoryType, 2n, null)) return
    for (const [name, { cursor, node: child }] of node.children) {
      if (cursor <= after) continue
      const entry = withEntries ? { attr: child.attr, generation: 0 } : null
      if (!fill(Buffer.from(name, 'latin1'), child.attr.nodeId, child.attr.mode, cursor, entry)) return
      if (withEntries) this.#refer(child)
    }
  }

  statfs(): FilesystemStats {
    const blocks = 1_000_000
    const files = 1_000_000
    return {
      blockSizeBytes: 4096,
      blocks,
      blocksFree: blocks,
      blocksAvailable: blocks,
      files,
      filesFree: files - this.#nodes.size,
      nameBytesMax: 255,
    }
  }

  getxattr(node: NodeId, name: Buffer): Buffer | null {
    return this.#at(node).xattrs.get(name.toString('latin1')) ?? null
  }

  listxattr(node: NodeId): Buffer {
    return Buffer.from([...this.#at(node).xattrs.keys()].map(name => `${name}\0`).join(''), 'latin1')
  }

  setxattr(node: NodeId, name: Buffer, value: Buffer, flags: number): void {
    const { xattrs } = this.#at(node)
    const key = name.toString('latin1')
    if (flags === xattrCreate && xattrs.has(key)) throw new FuseError('EEXIST')
    if (flags === xattrReplace && !xattrs.has(key)) throw new FuseError('ENODATA')
    xattrs.set(key, Buffer.from(value))
  }

  removexattr(node: NodeId, name: Buffer): void {
    if (!this.#at(node).xattrs.delete(name.toString('latin1'))) throw new FuseError('ENODATA')
  }

  #at(node: NodeId): Node {
    const found = this.#nodes.get(node)
    if (found === undefined) throw new FuseError('ESTALE')
    return found
  }

  #refer(node: Node): Entry {
    const { nodeId } = node.attr
    this.lookupCounts.set(nodeId, (this.lookupCounts.get(nodeId) ?? 0) + 1)
    return { attr: node.attr, generation: 0 }
  }

  #add(parent: NodeId, name: Buffer, make: (nodeId: NodeId) => Node): Node {
    const { children } = this.#at(parent)
    if (children.has(name.toString('latin1'))) throw new FuseError('EEXIST')
    const node = make(this.#nextNode++)
    children.set(name.toString('latin1'), { cursor: this.#nextCursor++, node })
    return node
  }

  #make(nodeId: NodeId, mode: number, rdev: number, owner: { uid: number; gid: number }, parent: Node | null): Node {
    const at = now()
    const attr: Attr = {
      nodeId,
      sizeBytes: 0,
      blocks512: 0,
      atime: at,
      mtime: at,
      ctime: at,
      mode,
      linkCount: (mode & typeMask) === directoryType ? 2 : 1,
      uid: owner.uid,
      gid: owner.gid,
      rdev,
      blockSizeBytes: 4096,
    }
    const node = { attr, bytes: Buffer.alloc(0), xattrs: new Map(), children: new Map() } as Omit<Node, 'parent'>
    const made = Object.assign(node, { parent: parent ?? (node as Node) })
    this.#nodes.set(nodeId, made)
    return made
  }

  #hangs(node: Node): boolean {
    return this.#root.children.get('hang')?.node === node
  }

  #dropPrivileges(node: Node): void {
    const { mode } = node.attr
    if (isDirectory(node)) return
    const dropped = setuid | (mode & groupExecute ? setgid : 0)
    node.attr = { ...node.attr, mode: mode & ~dropped }
  }

  #countLinks(node: Node, change: number): void {
    node.attr = { ...node.attr, linkCount: node.attr.linkCount + change, ctime: now() }
    if (node.attr.linkCount === 0 && !this.lookupCounts.has(node.attr.nodeId)) this.#nodes.delete(node.attr.nodeId)
  }

  #resize(node: Node, sizeBytes: number): void {
    if (sizeBytes > node.bytes.length) {
      const larger = Buffer.alloc(sizeBytes * 2)
      node.bytes.copy(larger, 0, 0, node.attr.sizeBytes)
      node.bytes = larger
    } else if (sizeBytes < node.attr.sizeBytes) node.bytes.fill(0, sizeBytes, node.attr.sizeBytes)
    node.attr = { ...node.attr, sizeBytes, blocks512: Math.ceil(sizeBytes / 512) }
  }
}

function isDirectory(node: Node): boolean {
  return (node.attr.mode & typeMask) === directoryType
}

function now(): Timestamp {
  const milliseconds = Date.now()
  return { seconds: Math.floor(milliseconds / 1000), nanos: (milliseconds % 1000) * 1_000_000 }
}

/** Never resolves; rejects as the signal says. */
function interrupted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
