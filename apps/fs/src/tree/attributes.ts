import { attributesBytes, decodeAttributeRecord, encodeAttributeRecord } from './attribute-format.ts'
import { type Inode, noAttributes } from './inode.ts'
import { inlineAttributesBytesMax } from './inode-format.ts'
import type { CachedRecord, RecordCache } from './record-cache.ts'

class AttributeRecord implements CachedRecord {
  readonly key: string
  readonly isPinned = false
  readonly nodeId: number
  attributes: ReadonlyMap<string, Buffer>

  constructor(nodeId: number, bytes: Buffer | null) {
    this.key = attributeKey(nodeId)
    this.nodeId = nodeId
    this.attributes = decodeAttributeRecord(nodeId, bytes)
  }
  get memoryBytes(): number {
    return attributesBytes(this.attributes)
  }
  encode(): Buffer | null {
    return encodeAttributeRecord(this.nodeId, this.attributes)
  }
}

/** Extended attributes and symlink targets: in the inode while they are short, else in a record of their own. */
export class Attributes {
  readonly #cache: RecordCache

  constructor(cache: RecordCache) {
    this.#cache = cache
  }

  /** Names are latin1. May throw NotLoaded. */
  of(inode: Inode): ReadonlyMap<string, Buffer> {
    return inode.inlineAttributes ?? this.#record(inode).attributes
  }

  /** Replaces all; the caller touches the inode. Look (`of`) before the first change of an operation. */
  set(inode: Inode, attributes: ReadonlyMap<string, Buffer>): void {
    if (attributesBytes(attributes) <= inlineAttributesBytesMax) {
      if (inode.inlineAttributes === null) this.#setRecord(this.#record(inode), noAttributes)
      inode.inlineAttributes = attributes
      return
    }
    const record = inode.inlineAttributes === null ? this.#record(inode) : new AttributeRecord(inode.nodeId, null)
    this.#setRecord(record, attributes)
    inode.inlineAttributes = null
  }

  #setRecord(record: AttributeRecord, attributes: ReadonlyMap<string, Buffer>): void {
    record.attributes = attributes
    this.#cache.touch(record)
  }

  #record(inode: Inode): AttributeRecord {
    const { nodeId } = inode
    return this.#cache.get(attributeKey(nodeId), bytes => new AttributeRecord(nodeId, bytes)) as AttributeRecord
  }
}

function attributeKey(nodeId: number): string {
  return `x${nodeId}`
}
