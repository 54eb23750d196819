import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../errors.ts'

/** docs/formats/xattr.md: a list of attributes, inline in an inode and in a record of its own. */
const AttributeHeader = layout('attribute', 4, { nameBytes: [0, 'u16'], valueBytes: [2, 'u16'] })
const RecordHeader = layout('attributes', 16, {
  magic: [0, 'bytes', 4],
  version: [4, 'u16'],
  listBytes: [6, 'u16'],
  nodeId: [8, 'u53'],
})
const recordMagic = Buffer.from('QXAT')
const recordVersion = 1

/** All attributes of one inode together; a record holds at most 64 KiB. */
export const attributesBytesMax = 48 * 1024

type Attributes = ReadonlyMap<string, Buffer>

/** Names are latin1 strings: one character per byte. */
export function attributesBytes(attributes: Attributes): number {
  let bytes = 0
  for (const [name, value] of attributes) bytes += AttributeHeader.sizeBytes + name.length + value.length
  return bytes
}

/** @returns where the next byte goes */
export function encodeAttributes(attributes: Attributes, target: Buffer, start: number): number {
  let at = start
  for (const [name, value] of attributes) {
    AttributeHeader.encode({ nameBytes: name.length, valueBytes: value.length }, target, at)
    at += AttributeHeader.sizeBytes
    at += target.write(name, at, 'latin1')
    target.set(value, at)
    at += value.length
  }
  return at
}

/** @throws FormatError when the list does not end where its bytes do */
export function decodeAttributes(bytes: Buffer): Map<string, Buffer> {
  const attributes = new Map<string, Buffer>()
  let at = 0
  while (at < bytes.length) {
    const { nameBytes, valueBytes } = AttributeHeader.decode(bytes, at)
    at += AttributeHeader.sizeBytes
    if (at + nameBytes + valueBytes > bytes.length) throw new FormatError('attributes', 'cut off')
    const name = bytes.toString('latin1', at, at + nameBytes)
    at += nameBytes
    const value = Buffer.allocUnsafeSlow(valueBytes)
    bytes.copy(value, 0, at, at + valueBytes)
    attributes.set(name, value)
    at += valueBytes
  }
  return attributes
}

export function encodeAttributeRecord(nodeId: number, attributes: Attributes): Buffer | null {
  if (attributes.size === 0) return null
  const listBytes = attributesBytes(attributes)
  const bytes = Buffer.allocUnsafeSlow(RecordHeader.sizeBytes + listBytes)
  RecordHeader.encode({ magic: recordMagic, version: recordVersion, listBytes, nodeId }, bytes)
  encodeAttributes(attributes, bytes, RecordHeader.sizeBytes)
  return bytes
}

/** @throws FormatError for anything that encodeAttributeRecord could not have made */
export function decodeAttributeRecord(nodeId: number, bytes: Buffer | null): Map<string, Buffer> {
  if (bytes === null) return new Map()
  const header = RecordHeader.decode(bytes)
  if (!header.magic.equals(recordMagic) || header.version !== recordVersion)
    throw new FormatError('attributes', 'not version 1')
  if (header.nodeId !== nodeId) throw new FormatError('attributes', 'of another inode')
  if (bytes.length !== RecordHeader.sizeBytes + header.listBytes) throw new FormatError('attributes', 'cut off')
  return decodeAttributes(bytes.subarray(RecordHeader.sizeBytes))
}
