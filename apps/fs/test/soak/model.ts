import type { Prng } from '@qsfs/testkit/prng'

/** A plain filesystem in memory: what every operation is compared with. */
export type ModelNode = ModelFile | { readonly kind: 'symlink'; readonly target: string } | ModelDirectory
export interface ModelFile {
  readonly kind: 'file'
  /** Tells files apart, whatever they are called. */
  readonly id: number
  bytes: Buffer
  links: number
}
export interface ModelDirectory {
  readonly kind: 'directory'
  readonly names: Map<string, ModelNode>
}

/** One operation, as data: the model and a filesystem do the same. Paths have no slash in front. */
export type Operation =
  | { readonly name: 'create' | 'mkdir' | 'unlink' | 'rmdir' | 'fsync'; readonly path: string }
  | { readonly name: 'symlink' | 'link'; readonly path: string; readonly second: string }
  | { readonly name: 'rename'; readonly path: string; readonly second: string; readonly flags: number }
  | { readonly name: 'truncate'; readonly path: string; readonly sizeBytes: number }
  | { readonly name: 'write'; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly name: 'read'; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly name: 'sync' }

export function describe(operation: Operation): string {
  const { name, ...rest } = operation
  const shown = Object.values(rest).map(value => (Buffer.isBuffer(value) ? `${value.length} bytes` : value))
  return [name, ...shown].join(' ')
}

/** A failure with an errno, as a filesystem would have. */
function code(name: string): Error {
  return Object.assign(new Error(name), { code: name })
}

export class Model {
  readonly root: ModelDirectory
  #nextId: number

  constructor(root: ModelDirectory = { kind: 'directory', names: new Map() }, nextId = 1) {
    this.root = root
    this.#nextId = nextId
  }

  /** The same tree; bytes are shared until one of the two writes. */
  clone(): Model {
    const files = new Map<ModelFile, ModelFile>()
    const copy = (node: ModelNode): ModelNode => {
      if (node.kind === 'symlink') return node
      if (node.kind === 'directory') {
        return { kind: 'directory', names: new Map([...node.names].map(([name, child]) => [name, copy(child)])) }
      }
      const known = files.get(node) ?? { ...node }
      files.set(node, known)
      return known
    }
    return new Model(copy(this.root) as ModelDirectory, this.#nextId)
  }

  /** @throws an error whose code is the errno a filesystem has to answer */
  apply(operation: Operation): void {
    switch (operation.name) {
      case 'create':
        this.#make(operation.path, { kind: 'file', id: this.#nextId, bytes: Buffer.alloc(0), links: 1 })
        this.#nextId++
        return
      case 'mkdir':
        this.#make(operation.path, { kind: 'directory', names: new Map() })
        return
      case 'symlink':
        this.#make(operation.path, { kind: 'symlink', target: operation.second })
        return
      case 'link':
        this.#link(operation.path, operation.second)
        return
      case 'unlink':
        this.#unlink(operation.path)
        return
      case 'rmdir':
        this.#rmdir(operation.path)
        return
      case 'rename':
        this.#rename(operation.path, operation.second, operation.flags)
        return
      case 'truncate':
        this.#resize(operation.path, operation.sizeBytes)
        return
      case 'write':
        this.#write(operation.path, operation.offset, operation.data)
        return
      case 'fsync':
        this.get(operation.path)
        return
      case 'read':
        this.file(operation.path)
        return
      case 'sync':
        return
      default:
        operation satisfies never
    }
  }

  get(path: string): ModelNode {
    const { directory, name } = this.#parentOf(path)
    const node = directory.names.get(name)
    if (node === undefined) throw code('ENOENT')
    return node
  }

  file(path: string): ModelFile {
    const node = this.get(path)
    if (node.kind !== 'file') throw code(node.kind === 'directory' ? 'EISDIR' : 'EINVAL')
    return node
  }

  #parentOf(path: string): { directory: ModelDirectory; name: string } {
    const parts = path.split('/')
    const name = parts.pop()!
    let directory = this.root as ModelNode
    for (const part of parts) {
      if (directory.kind !== 'directory') throw code('ENOTDIR')
      const next: ModelNode | undefined = directory.names.get(part)
      if (next === undefined) throw code('ENOENT')
      directory = next
    }
    if (directory.kind !== 'directory') throw code('ENOTDIR')
    return { directory, name }
  }

  #make(path: string, node: ModelNode): void {
    const { directory, name } = this.#parentOf(path)
    if (directory.names.has(name)) throw code('EEXIST')
    directory.names.set(name, node)
  }

  #link(from: string, to: string): void {
    const node = this.get(from)
    const { directory, name } = this.#parentOf(to)
    if (node.kind === 'directory') throw code('EPERM')
    if (directory.names.has(name)) throw code('EEXIST')
    if (node.kind === 'file') node.links++
    directory.names.set(name, node)
  }

  #unlink(path: string): void {
    const node = this.get(path)
    if (node.kind === 'directory') throw code('EISDIR')
    const { directory, name } = this.#parentOf(path)
    if (node.kind === 'file') node.links--
    directory.names.delete(name)
  }

  #rmdir(path: string): void {
    const node = this.get(path)
    if (node.kind !== 'directory') throw code('ENOTDIR')
    if (node.names.size > 0) throw code('ENOTEMPTY')
    const { directory, name } = this.#parentOf(path)
    directory.names.delete(name)
  }

  #rename(from: string, to: string, flags: number): void {
    const source = this.#parentOf(from)
    const target = this.#parentOf(to)
    const node = this.get(from)
    const replaced = target.directory.names.get(target.name)
    if (replaced !== undefined && flags === 1) throw code('EEXIST')
    if (replaced === undefined && flags === 2) throw code('ENOENT')
    if (replaced === node) return
    if (flags === 2) {
      source.directory.names.set(source.name, replaced!)
      target.directory.names.set(target.name, node)
      return
    }
    if (replaced !== undefined) {
      if (node.kind === 'directory' && replaced.kind !== 'directory') throw code('ENOTDIR')
      if (node.kind !== 'directory' && replaced.kind === 'directory') throw code('EISDIR')
      if (replaced.kind === 'directory' && replaced.names.size > 0) throw code('ENOTEMPTY')
      if (replaced.kind === 'file') replaced.links--
    }
    target.directory.names.set(target.name, node)
    source.directory.names.delete(source.name)
  }

  #resize(path: string, sizeBytes: number): void {
    const file = this.file(path)
    const bytes = Buffer.alloc(sizeBytes)
    file.bytes.copy(bytes)
    file.bytes = bytes
  }

  #write(path: string, offset: number, data: Buffer): void {
    const file = this.file(path)
    const bytes = Buffer.alloc(Math.max(file.bytes.length, offset + data.length))
    file.bytes.copy(bytes)
    data.copy(bytes, offset)
    file.bytes = bytes
  }
}

const fileBytesMax = 600 * 1024
const paths = ['a', 'b', 'c', 'dir', 'dir/a', 'dir/b', 'dir/sub', 'dir/sub/x', 'other', 'other/a']
/** Odds of each operation. */
const odds = {
  create: 12,
  mkdir: 8,
  symlink: 3,
  link: 4,
  unlink: 7,
  rmdir: 3,
  rename: 8,
  truncate: 8,
  fsync: 5,
  read: 12,
  sync: 1,
  write: 29,
} as const satisfies Record<Operation['name'], number>
const bag = (Object.keys(odds) as Operation['name'][]).flatMap(name => Array.from({ length: odds[name] }, () => name))

/** Any operation on a few names: many fail, and must fail alike. */
export function randomOperation(prng: Prng): Operation {
  const name = prng.pick(bag)
  const path = prng.pick(paths)
  const second = prng.pick(paths)
  const offset = prng.chance(0.5) ? prng.below(fileBytesMax) : prng.below(8) * 65536
  const length = 1 + prng.below(prng.chance(0.3) ? 300_000 : 9000)
  switch (name) {
    case 'symlink':
    case 'link':
      return { name, path, second }
    case 'rename': {
      const flags = prng.below(3)
      // The kernel refuses to move a directory into itself before it asks.
      const isInside = second.startsWith(`${path}/`) || path.startsWith(`${second}/`)
      return isInside ? { name: 'read', path, offset, length } : { name, path, second, flags }
    }
    case 'truncate':
      return { name, path, sizeBytes: prng.chance(0.3) ? 0 : offset }
    case 'read':
      return { name, path, offset, length }
    case 'write':
      return { name, path, offset, data: prng.bytes(length) }
    case 'sync':
      return { name }
    default:
      return { name, path }
  }
}
