import assert from 'node:assert'
import { KeyArena } from './key-arena.ts'
import type { EntryLocation, Keydir } from './keydir.ts'

/** Entries are columns of 32-bit words in chunks that are never copied: growing costs one small allocation. */
const entriesPerChunk = 8_192
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
const loadMax = 0.75

/** User keys of 1 to 255 bytes. 28 bytes of columns, 5.4 to 10.7 bytes of index and 5 of key arena an entry, plus the key. */
export class UserKeydir implements Keydir {
  readonly #seed: number
  readonly #chunks: Uint32Array[] = []
  readonly #tables: (Uint32Array | undefined)[] = new Array(1 << tableBits)
  readonly #tableCounts = new Uint32Array(1 << tableBits)
  readonly #keys = new KeyArena((entry, reference) => this.#setWord(entry, Column.keyReference, reference))
  #entriesUsed = 0
  #freeEntry: number = noEntry
  #count = 0
  #slots = 0

  /** @param seed random, so that nobody outside can choose keys that collide */
  constructor(seed: number) {
    this.#seed = seed >>> 0
  }

  get count(): number {
    return this.#count
  }

  get memoryBytes(): number {
    return this.#chunks.length * entriesPerChunk * wordsPerEntry * 4 + this.#slots * 4 + this.#keys.memoryBytes
  }

  get(key: Uint8Array): EntryLocation | null {
    const entry = this.#find(key, this.#hash(key))
    return entry === noEntry ? null : this.#location(entry)
  }

  set(key: Uint8Array, location: EntryLocation): EntryLocation | null {
    const hash = this.#hash(key)
    const found = this.#find(key, hash)
    const previous = found === noEntry ? null : this.#location(found)
    const entry = found === noEntry ? this.#insert(key, hash) : found
    const words = this.#chunk(entry)
    const at = (entry % entriesPerChunk) * wordsPerEntry
    words[at + Column.segmentId] = location.segmentId
    words[at + Column.offsetBytes] = location.offsetBytes
    words[at + Column.lengthAndFlags] = location.valueBytes | (location.updated ? updatedBit : 0)
    words[at + Column.timestampSeconds] = location.timestampSeconds
    words[at + Column.valueCrc] = location.valueCrc
    return previous
  }

  delete(key: Uint8Array): EntryLocation | null {
    const hash = this.#hash(key)
    const entry = this.#find(key, hash)
    if (entry === noEntry) return null
    const previous = this.#location(entry)
    this.#unindex(entry, hash)
    this.#keys.remove(this.#word(entry, Column.keyReference))
    this.#setWord(entry, Column.segmentId, this.#freeEntry)
    this.#freeEntry = entry
    this.#count--
    return previous
  }

  #location(entry: number): EntryLocation {
    const words = this.#chunk(entry)
    const at = (entry % entriesPerChunk) * wordsPerEntry
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

  #find(key: Uint8Array, hash: number): number {
    const table = this.#tables[hash & tableMask]
    if (table === undefined) return noEntry
    const mask = table.length - 1
    for (let slot = (hash >>> tableBits) & mask; ; slot = (slot + 1) & mask) {
      const entry = table[slot]! - 1
      if (entry < 0) return noEntry
      if (this.#word(entry, Column.hash) === hash && this.#keys.equals(this.#word(entry, Column.keyReference), key))
        return entry
    }
  }

  #insert(key: Uint8Array, hash: number): number {
    let entry = this.#freeEntry
    if (entry !== noEntry) {
      this.#freeEntry = this.#word(entry, Column.segmentId)
    } else {
      entry = this.#entriesUsed++
      if (entry % entriesPerChunk === 0) this.#chunks.push(new Uint32Array(entriesPerChunk * wordsPerEntry))
    }
    this.#setWord(entry, Column.hash, hash)
    this.#setWord(entry, Column.keyReference, this.#keys.add(entry, key))
    this.#index(entry, hash)
    this.#count++
    return entry
  }

  #index(entry: number, hash: number): void {
    const number = hash & tableMask
    let table = this.#tables[number]
    if (table === undefined || this.#tableCounts[number]! + 1 > table.length * loadMax)
      table = this.#grow(number, table)
    place(table, entry, hash)
    this.#tableCounts[number]!++
  }

  #grow(number: number, old: Uint32Array | undefined): Uint32Array {
    const table = new Uint32Array(old === undefined ? tableSlotsMin : old.length * 2)
    for (const stored of old ?? []) if (stored > 0) place(table, stored - 1, this.#word(stored - 1, Column.hash))
    this.#tables[number] = table
    this.#slots += table.length - (old?.length ?? 0)
    return table
  }

  /** Takes the entry out of its table and shifts back what had been pushed on by it, so that no probe meets a hole. */
  #unindex(entry: number, hash: number): void {
    const number = hash & tableMask
    const table = this.#tables[number]
    assert(table !== undefined)
    const mask = table.length - 1
    let hole = (hash >>> tableBits) & mask
    while (table[hole] !== entry + 1) hole = (hole + 1) & mask
    for (let slot = (hole + 1) & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const home = (this.#word(table[slot]! - 1, Column.hash) >>> tableBits) & mask
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        table[hole] = table[slot]!
        hole = slot
      }
    }
    table[hole] = 0
    this.#tableCounts[number]!--
  }

  /** FNV-1a from a random start, then the finalizer of MurmurHash3: its low bits choose the table, the others the slot. */
  #hash(key: Uint8Array): number {
    let hash = this.#seed ^ 0x811c9dc5
    for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key[i]!, 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    return (hash ^ (hash >>> 16)) >>> 0
  }

  #chunk(entry: number): Uint32Array {
    return this.#chunks[Math.floor(entry / entriesPerChunk)]!
  }

  #word(entry: number, column: number): number {
    return this.#chunk(entry)[(entry % entriesPerChunk) * wordsPerEntry + column]!
  }

  #setWord(entry: number, column: number, value: number): void {
    this.#chunk(entry)[(entry % entriesPerChunk) * wordsPerEntry + column] = value
  }
}

function place(table: Uint32Array, entry: number, hash: number): void {
  const mask = table.length - 1
  let slot = (hash >>> tableBits) & mask
  while (table[slot] !== 0) slot = (slot + 1) & mask
  table[slot] = entry + 1
}
