import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../errors.ts'

/** One name. `name` is latin1: one character per byte. */
export interface DirectoryName {
  readonly name: string
  readonly nodeId: number
  /** File type, as the top 4 bits of 16 in `mode`. */
  readonly type: number
  readonly cookie: number
}

/** docs/formats/directory.md: a bucket is a list of names sorted by cookie, or says which of its 16 children exist. */
const NodeHeader = layout('directory bucket', 24, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  kind: [6, 'u8'],
  depth: [7, 'u8'],
  nodeId: [8, 'u53'],
  children: [16, 'u16'],
  reserved: [18, 'u16'],
  count: [20, 'u32'],
})
const nodeMagic = Buffer.from('QDIR')
const nodeVersion = 1
const Kind = { names: 0, split: 1 } as const

const NameLayout = layout('name', 20, {
  nodeId: [0, 'u53'],
  cookie: [8, 'u53'],
  type: [16, 'u8'],
  nameBytes: [17, 'u8'],
  reserved: [18, 'u16'],
})
const namesMax = 4096

export interface BucketPlace {
  readonly nodeId: number
  /** The nibbles of the hash that lead here, one hexadecimal digit each. */
  readonly path: string
}

/** Bytes a name takes in its bucket. */
export function nameBytes(name: string): number {
  return NameLayout.sizeBytes + name.length
}

export function encodeSplit({ nodeId, path }: BucketPlace, children: number): Buffer | null {
  if (children === 0) return null
  const bytes = Buffer.allocUnsafeSlow(NodeHeader.sizeBytes)
  NodeHeader.encode({ ...headerOf(nodeId, path), kind: Kind.split, children, count: 0 }, bytes)
  return bytes
}

export function encodeNames({ nodeId, path }: BucketPlace, names: readonly DirectoryName[]): Buffer | null {
  if (names.length === 0) return null
  const namesBytes = names.reduce((sum, { name }) => sum + nameBytes(name), 0)
  const bytes = Buffer.allocUnsafeSlow(NodeHeader.sizeBytes + namesBytes)
  NodeHeader.encode({ ...headerOf(nodeId, path), kind: Kind.names, children: 0, count: names.length }, bytes)
  let at = NodeHeader.sizeBytes
  for (const { name, nodeId: target, type, cookie } of names) {
    NameLayout.encode({ nodeId: target, cookie, type, nameBytes: name.length, reserved: 0 }, bytes, at)
    bytes.write(name, at + NameLayout.sizeBytes, 'latin1')
    at += nameBytes(name)
  }
  return bytes
}

/** An absent record is an empty list.
 *  @throws FormatError for anything that the two above could not have made */
export function decodeBucket(
  { nodeId, path }: BucketPlace,
  bytes: Buffer | null,
): { children: number } | { names: DirectoryName[] } {
  if (bytes === null) return { names: [] }
  const header = NodeHeader.decode(bytes)
  if (!header.magic.equals(nodeMagic) || header.version !== nodeVersion)
    throw new FormatError('directory', 'not version 1')
  if (header.nodeId !== nodeId || header.depth !== path.length) throw new FormatError('directory', 'of another place')
  if (header.kind === Kind.split) return { children: header.children }
  if (header.count > namesMax) throw new FormatError('directory', `${header.count} names`)
  const names: DirectoryName[] = []
  let at = NodeHeader.sizeBytes
  for (let index = 0; index < header.count; index++) {
    const { nodeId: target, cookie, type, nameBytes: length } = NameLayout.decode(bytes, at)
    at += NameLayout.sizeBytes
    if (at + length > bytes.length) throw new FormatError('directory', 'cut off')
    names.push({ name: bytes.toString('latin1', at, at + length), nodeId: target, type, cookie })
    at += length
  }
  if (at !== bytes.length) throw new FormatError('directory', 'bytes left over')
  return { names }
}

function headerOf(nodeId: number, path: string) {
  return { magic: nodeMagic, version: nodeVersion, depth: path.length, nodeId, reserved: 0 }
}
