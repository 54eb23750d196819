import assert from 'node:assert/strict'

/** What 0-db would serve from a namespace's files, read as its specification says and with none of our code. */
export interface ZdbContents {
  readonly mode: 'user' | 'sequential'
  /** Key in hex → value and time; in the order of their index entries. */
  readonly values: ReadonlyMap<string, { readonly value: string; readonly timestampSeconds: number }>
  /** Of a sequential namespace. */
  readonly nextId: number
  readonly descriptor: Buffer
  readonly files: number
}

interface Slot {
  readonly at: number
  readonly fileId: number
  readonly key: Buffer
  readonly offset: number
  readonly length: number
  readonly previous: number
  readonly flags: number
  readonly dataId: number
  readonly timestampSeconds: number
  readonly crc: number
}

/** @param read a file by its name, null when there is none */
export function readZdb(read: (name: string) => Buffer | null): ZdbContents {
  const slots: Slot[] = []
  let files = 0
  let mode = 0
  for (let index = read('i0'); index !== null; index = read(`i${files}`)) {
    assert.equal(index.toString('latin1', 0, 4), 'IDX0')
    assert.deepEqual([index.readUInt32LE(4), index.readUInt32LE(24)], [4, files])
    assert.equal(index.subarray(8, 24).equals(Buffer.alloc(16)), true, 'created and opened are 0')
    if (files > 0) assert.equal(index[28], mode)
    mode = index[28]!
    for (let at = 29; at < index.length; at = at + 34 + index[at]!) slots.push(slotAt(index, at, files))
    files++
  }
  assert.equal(read(`d${files}`), null, 'a data file without an index file')
  assertPrevious(slots)
  return { ...contents(slots, mode, read), files, descriptor: read('zdb-namespace')!, nextId: slots.length }
}

function slotAt(index: Buffer, at: number, fileId: number): Slot {
  assert.ok(at + 34 + index[at]! <= index.length, 'no partial entry')
  return {
    at,
    fileId,
    key: index.subarray(at + 34, at + 34 + index[at]!),
    offset: index.readUInt32LE(at + 1),
    length: index.readUInt32LE(at + 5),
    previous: index.readUInt32LE(at + 9),
    flags: index[at + 13]!,
    dataId: index.readUInt32LE(at + 14),
    timestampSeconds: index.readUInt32LE(at + 18),
    crc: index.readUInt32LE(at + 22),
  }
}

/** RSCAN: from the last entry back to the first. */
function assertPrevious(slots: readonly Slot[]): void {
  for (const [number, { previous, fileId, at }] of slots.entries()) {
    const before = slots[number - 1]
    assert.equal(previous, before?.at ?? 0)
    if (before !== undefined) assert.equal(before.fileId, previous >= at ? fileId - 1 : fileId)
  }
}

function contents(slots: readonly Slot[], mode: number, read: (name: string) => Buffer | null) {
  const values = new Map<string, { value: string; timestampSeconds: number }>()
  for (const [number, slot] of slots.entries()) {
    if (mode === 1) {
      assert.equal(slot.key.length, 8)
      if ((slot.flags & 1) === 0) assert.equal(slot.key.readBigUInt64LE(), BigInt(number))
    }
    const key = slot.key.toString('hex')
    values.delete(key)
    if ((slot.flags & 1) === 0)
      values.set(key, { value: readValue(slot, read), timestampSeconds: slot.timestampSeconds })
  }
  for (let id = 0; read(`d${id}`) !== null; id++) assertWalks(read(`d${id}`)!, id)
  return { mode: mode === 1 ? ('sequential' as const) : ('user' as const), values }
}

function readValue(slot: Slot, read: (name: string) => Buffer | null): string {
  assert.equal(slot.dataId, slot.fileId)
  const data = read(`d${slot.dataId}`)!
  const { offset, key, length } = slot
  assert.deepEqual(
    [data[offset], data.readUInt32LE(offset + 1), data.readUInt32LE(offset + 9), data[offset + 13]],
    [key.length, length, slot.crc, 0],
  )
  assert.ok(data.subarray(offset + 18, offset + 18 + key.length).equals(key))
  assert.equal(data.readUInt32LE(offset + 14), slot.timestampSeconds)
  const value = data.subarray(offset + 18 + key.length, offset + 18 + key.length + length)
  assert.equal(value.length, length)
  assert.equal(crcOf(value), slot.crc)
  return value.toString('latin1')
}

/** The integrity tool: headers follow each other up to the end. */
function assertWalks(data: Buffer, id: number): void {
  assert.equal(data.toString('latin1', 0, 4), 'DAT0')
  assert.deepEqual([data.readUInt32LE(4), data.readUInt32LE(24)], [3, id])
  let at = 28
  while (at < data.length) at += 18 + data[at]! + data.readUInt32LE(at + 1)
  assert.equal(at, data.length)
}

/** CRC-32C, reflected, from 0, not inverted. */
function crcOf(bytes: Buffer): number {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78)
  }
  return crc >>> 0
}
