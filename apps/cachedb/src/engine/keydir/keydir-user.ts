import assert from 'node:assert'
import { KeyArena } from './key-arena.ts'
import type { EntryLocation, Keydir, ValueInHint } from './keydir.ts'

/** Entries are columns of 32-bit words in chunks that are never copied: growing costs one small allocation. */
const entryBits = 13
const entriesPerChunk = 1 << entryBits
const entryMask = entriesPerChunk - 1
const Column = {
  segmentId: 0,
  offsetBytes: 1,
  lengthAndFlags: 2,
  timestampSeconds: 3,
  valueCrc: 4,
  keyReference: 5,
  hash: 6,
} as const
const wordsPerEntry = 7
const updatedBit = 1 << 24
const lengthMask = updatedBit - 1
const noEntry = 0xffff_ffff

/** The index is split by hash into small tables that double alone: one table over 3.1 million keys stopped the loop for 206-325 ms. */
const tableBits = 10
const tableMask = (1 << tableBits) - 1
const tableSlotsMin = 16
const loadMax = 0.85

/** A slot of the index: an entry's number + 1, 0 when it is free, and 16 bits of its hash. These tell nearly all other keys apart, and
 *  where an entry belongs in a table of up to 65,536 slots: so neither a look-up nor a growing table reads the hashes of entries that lie
 *  anywhere in memory, which made a load of 5 million keys several times as long. */
interface Table {
  readonly tags: Uint16Array
  readonly entries: Uint32Array
}
const bytesPerSlot = 6
const tagsMax = 1 << 16

/** User keys of 1 to 255 bytes. 28 bytes of columns, 7.1 to 14.1 bytes of index and 5 of key arena an entry, plus the key. */
export class UserKeydir implements Keydir {
  readonly #seed: number
  readonly #chunks: Uint32Array[] = []
  readonly #tables: (Table | undefined)[] = new Array(1 << tableBits)
  readonly #tableCounts = new Uint32Array(1 << tableBits)
  readonly #keys = new KeyArena((entry, reference) => this.#setWord(entry, Column.keyReference, reference))
  #entriesUsed = 0
  #freeEntry: number = noEntry
  #count = 0
  #slots = 0
  /** Of a new table. */
  #firstSlots = tableSlotsMin

  /** @param seed random, so that nobody outside can choose keys that collide */
  constructor(seed: number) {
    this.#seed = seed >>> 0
  }

  get count(): number {
    return this.#count
  }

  get memoryBytes(): number {
    return (
      this.#chunks.length * entriesPerChunk * wordsPerEntry * 4 + this.#slots * bytesPerSlot + this.#keys.memoryBytes
    )
  }

  expect(count: number): void {
    this.#firstSlots = slotsFor(count / (1 << tableBits))
  }

  *fit(): Generator<void> {
    this.#firstSlots = tableSlotsMin
    for (const [number, table] of this.#tables.entries()) {
      const slots = slotsFor(this.#tableCounts[number]!)
      if (table === undefined || slots >= table.tags.length) continue
      this.#resize(number, slots)
      yield
    }
  }

  get(key: Uint8Array): EntryLocation | null {
    const entry = this.#find(key, 0, key.length, this.#hash(key, 0, key.length))
    return entry === noEntry ? null : this.#location(entry)
  }

  set(key: Uint8Array, location: EntryLocation): EntryLocation | null {
    const hash = this.#hash(key, 0, key.length)
    const found = this.#find(key, 0, key.length, hash)
    const previous = found === noEntry ? null : this.#location(found)
    const entry = found === noEntry ? this.#insert(key, 0, key.length, hash) : found
    this.#write(entry, location, location.segmentId, location.updated ? updatedBit : 0)
    return previous
  }

  add(value: ValueInHint, segmentId: number): boolean {
    const { bytes, keyAt, keyBytes } = value
    const hash = this.#hash(bytes, keyAt, keyBytes)
    if (this.#find(bytes, keyAt, keyBytes, hash) !== noEntry) return false
    this.#write(this.#insert(bytes, keyAt, keyBytes, hash), value, segmentId, 0)
    return true
  }

  delete(key: Uint8Array): EntryLocation | null {
    const hash = this.#hash(key, 0, key.length)
    const entry = this.#find(key, 0, key.length, hash)
    if (entry === noEntry) return null
    const previous = this.#location(entry)
    this.#unindex(entry, hash)
    this.#keys.remove(this.#word(entry, Column.keyReference))
    this.#setWord(entry, Column.segmentId, this.#freeEntry)
    this.#freeEntry = entry
    this.#count--
    return previous
  }

  #write(
    entry: number,
    place: Pick<EntryLocation, 'offsetBytes' | 'valueBytes' | 'timestampSeconds' | 'valueCrc'>,
    segmentId: number,
    flags: number,
  ): void {
    const words = this.#chunk(entry)
    const at = (entry & entryMask) * wordsPerEntry
    words[at + Column.segmentId] = segmentId
    words[at + Column.offsetBytes] = place.offsetBytes
    words[at + Column.lengthAndFlags] = place.valueBytes | flags
    words[at + Column.timestampSeconds] = place.timestampSeconds
    words[at + Column.valueCrc] = place.valueCrc
  }

  #location(entry: number): EntryLocation {
    const words = this.#chunk(entry)
    const at = (entry & entryMask) * wordsPerEntry
    const lengthAndFlags = words[at + Column.lengthAndFlags]!
    return {
      segmentId: words[at + Column.segmentId]!,
      offsetBytes: words[at + Column.offsetBytes]!,
      valueBytes: lengthAndFlags & lengthMask,
      timestampSeconds: words[at + Column.timestampSeconds]!,
      valueCrc: words[at + Column.valueCrc]!,
      updated: (lengthAndFlags & updatedBit) !== 0,
    }
  }

  #find(bytes: Uint8Array, keyAt: number, keyBytes: number, hash: number): number {
    const table = this.#tables[hash & tableMask]
    if (table === undefined) return noEntry
    const { tags, entries } = table
    const mask = tags.length - 1
    const wanted = tagOf(hash)
    for (let slot = (hash >>> tableBits) & mask; ; slot = (slot + 1) & mask) {
      const tag = tags[slot]!
      if (tag === 0 && entries[slot] === 0) return noEntry
      if (tag !== wanted) continue
      const entry = entries[slot]! - 1
      if (this.#word(entry, Column.hash) !== hash) continue
      if (this.#keys.equals(this.#word(entry, Column.keyReference), bytes, keyAt, keyBytes)) return entry
    }
  }

  #insert(bytes: Uint8Array, keyAt: number, keyBytes: number, hash: number): number {
    let entry = this.#freeEntry
    if (entry !== noEntry) {
      this.#freeEntry = this.#word(entry, Column.segmentId)
    } else {
      entry = this.#entriesUsed++
      if ((entry & entryMask) === 0) this.#chunks.push(new Uint32Array(entriesPerChunk * wordsPerEntry))
    }
    this.#setWord(entry, Column.hash, hash)
    this.#setWord(entry, Column.keyReference, this.#keys.add(entry, bytes, keyAt, keyBytes))
    this.#index(entry, hash)
    this.#count++
    return entry
  }

  #index(entry: number, hash: number): void {
    const number = hash & tableMask
    let table = this.#tables[number]
    if (table === undefined || this.#tableCounts[number]! + 1 > table.tags.length * loadMax)
      table = this.#resize(number, table === undefined ? this.#firstSlots : table.tags.length * 2)
    place(table, entry, hash >>> tableBits)
    this.#tableCounts[number]!++
  }

  #resize(number: number, slots: number): Table {
    const old = this.#tables[number]
    const oldSlots = old?.tags.length ?? 0
    const table = { tags: new Uint16Array(slots), entries: new Uint32Array(slots) }
    for (let slot = 0; slot < oldSlots; slot++)
      if (old!.entries[slot] !== 0) place(table, old!.entries[slot]! - 1, this.#home(old!, slot, slots))
    this.#tables[number] = table
    this.#slots += slots - oldSlots
    return table
  }

  /** Where the entry in this slot belongs in a table of so many slots, or more bits of the same. */
  #home({ tags, entries }: Table, slot: number, slots: number): number {
    return slots <= tagsMax ? tags[slot]! : this.#word(entries[slot]! - 1, Column.hash) >>> tableBits
  }

  /** Takes the entry out of its table and shifts back what had been pushed on by it, so that no probe meets a hole. */
  #unindex(entry: number, hash: number): void {
    const number = hash & tableMask
    const table = this.#tables[number]
    assert(table !== undefined)
    const { tags, entries } = table
    const mask = tags.length - 1
    let hole = (hash >>> tableBits) & mask
    while (entries[hole] !== entry + 1) hole = (hole + 1) & mask
    for (let slot = (hole + 1) & mask; entries[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.#home(table, slot, tags.length) & mask
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        tags[hole] = tags[slot]!
        entries[hole] = entries[slot]!
        hole = slot
      }
    }
    tags[hole] = 0
    entries[hole] = 0
    this.#tableCounts[number]!--
  }

  /** FNV-1a from a random start, then the finalizer of MurmurHash3: its low bits choose the table, the others the slot. */
  #hash(bytes: Uint8Array, keyAt: number, keyBytes: number): number {
    let hash = this.#seed ^ 0x811c9dc5
    for (let i = keyAt; i < keyAt + keyBytes; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    return (hash ^ (hash >>> 16)) >>> 0
  }

  #chunk(entry: number): Uint32Array {
    return this.#chunks[entry >>> entryBits]!
  }

  #word(entry: number, column: number): number {
    return this.#chunk(entry)[(entry & entryMask) * wordsPerEntry + column]!
  }

  #setWord(entry: number, column: number, value: number): void {
    this.#chunk(entry)[(entry & entryMask) * wordsPerEntry + column] = value
  }
}

/** Of a table that grew, doubling, to so many entries. */
function slotsFor(entries: number): number {
  let slots = tableSlotsMin
  while (entries > slots * loadMax) slots *= 2
  return slots
}

/** @param home where the entry belongs: the hash without the bits that chose the table */
function place({ tags, entries }: Table, entry: number, home: number): void {
  const mask = tags.length - 1
  let slot = home & mask
  while (entries[slot] !== 0) slot = (slot + 1) & mask
  tags[slot] = home
  entries[slot] = entry + 1
}

function tagOf(hash: number): number {
  return (hash >>> tableBits) & (tagsMax - 1)
}
