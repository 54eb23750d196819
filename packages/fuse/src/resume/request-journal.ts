import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs'
import type { Log } from '@qsfs/telemetry/log'
import { InHeader, uniqueResend } from '../abi.ts'
import { createdBy } from './changing-requests.ts'
import { decodeRecords, encodeRecord, type JournalRecord, openedRecordBytes } from './journal-format.ts'

/** More than a second of requests; what comes when it is full is not kept, until the next transaction makes room. */
const fileBytesMax = 64 * 1024 * 1024

export type JournalEntry = Extract<JournalRecord, { kind: 'answered' | 'forgotten' }>

/** What a process that was killed had told the kernel, and the store does not know. */
export interface Unfinished {
  /** In the order they happened. `done` is to be called when an entry happened again. */
  readonly entries: readonly { readonly entry: JournalEntry; readonly done: () => void }[]
  /** Files that lost bytes. */
  readonly lostNodeIds: readonly number[]
}

interface JournalFile {
  readonly fd: number
  sizeBytes: number
  entryCount: number
  /** Entries that happened in this process, or are known to the store. */
  doneCount: number
  generation: number
  records: readonly JournalRecord[]
}

/** Keeps, outside of this process, what it has answered and the store does not know yet, so that a process which comes
 *  after a kill -9 can go on where it ended. Two files take turns: one belongs to the running transaction, the other to the
 *  one before, which may still be on its way to the store. They are written, never synced: a power cut ends the mount too.
 *
 *  The store's transactions are numbered, and `seal` says which of them holds what was noted so far. */
export class RequestJournal {
  readonly #log: Log
  #current: JournalFile
  #other: JournalFile
  readonly #replies = new Map<bigint, Buffer>()
  #isRepeating = false
  #isBroken = false

  /** @param fds two files, open for reading and writing, that nobody else uses
   *  @throws RangeError when they hold something else */
  constructor(fds: readonly [number, number], log: Log) {
    this.#log = log
    const [older, newer] = fds.map(readJournalFile).sort((a, b) => a.generation - b.generation)
    this.#current = newer!
    this.#other = older!
    for (const record of [...older!.records, ...newer!.records]) {
      if (record.kind === 'answered') this.#replies.set(uniqueOf(record.request), record.reply)
    }
  }

  /** Nobody has served this mount yet. */
  get isNew(): boolean {
    return this.#current.sizeBytes === 0
  }

  /** The first process begins here.
   *  @throws when nothing can be kept: the next process could not know that there was this one */
  begin(): void {
    this.#open(this.#current, 1, [], [])
    if (this.isNew) throw new RangeError('the journal of answered requests cannot be written')
  }

  /** What is to happen again before anything else; `repeated` says when it has.
   *  @param seq the newest transaction that the store has */
  unfinished(seq: number): Unfinished {
    this.#isRepeating = true
    const entries: { entry: JournalEntry; done: () => void }[] = []
    const lost = new Set<number>()
    for (const file of [this.#other, this.#current]) {
      const known = file.records.filter(record => record.kind === 'sealed').filter(mark => mark.seq <= seq)
      const lastKnown = known.at(-1)
      file.doneCount = Math.max(0, ...known.map(({ entryCount }) => entryCount))
      const undone = new Set<number>()
      let isKnown = lastKnown !== undefined
      let index = 0
      for (const record of file.records) {
        if (record === lastKnown) isKnown = false
        if (record.kind === 'lost') for (const nodeId of record.nodeIds) lost.add(nodeId)
        // What was noted before a seal is repeated behind it where it still holds.
        else if (record.kind === 'unstored' && !isKnown) for (const id of record.nodeIds) lost.add(id)
        if (record.kind !== 'answered' && record.kind !== 'forgotten') continue
        const at = index++
        if (at < file.doneCount) continue
        undone.add(at)
        const done = () => {
          undone.delete(at)
          // A seal counts the first so many, and not all happen again in the order of the file.
          const [firstUndone = file.entryCount] = undone
          file.doneCount = firstUndone
        }
        entries.push({ entry: record, done })
      }
    }
    return { entries: inOrderOfNumbers(entries), lostNodeIds: [...lost] }
  }

  repeated(): void {
    this.#isRepeating = false
    this.#current.doneCount = this.#current.entryCount
    for (const file of [this.#current, this.#other]) file.records = []
  }

  /** The reply to a request that was answered, or just not yet, by the process before: what it asked for has happened. */
  replyTo(unique: bigint): Buffer | null {
    const reply = this.#replies.get(unique & ~uniqueResend)
    if (reply === undefined) return null
    const again = Buffer.from(reply)
    again.writeBigUInt64LE(unique, 8)
    return again
  }

  /** Whatever the process before left unanswered has been asked for again. */
  forgetReplies(): void {
    this.#replies.clear()
  }

  /** To be called before the reply is sent. */
  noteAnswered(request: Buffer, reply: Buffer, nowMs: number): void {
    this.#note({ kind: 'answered', atMicros: Math.round(nowMs * 1000), request, reply })
  }

  /** The kernel let go of a node without a name: nothing but its FORGET says so. */
  noteForgotten(nodeId: number): void {
    this.#note({ kind: 'forgotten', nodeIds: [nodeId] })
  }

  /** A file now has bytes that no transaction names. */
  noteUnstored(nodeId: number): void {
    this.#note({ kind: 'unstored', nodeIds: [nodeId] })
  }

  /** What happened so far belongs to the transaction `seq`, which is on its way; the one before is in the store.
   *  @param unstored files with bytes that it does not name
   *  @param lost files that have to tell of lost bytes */
  seal(seq: number, unstored: readonly number[], lost: readonly number[]): void {
    this.#append(this.#current, { kind: 'sealed', seq, entryCount: this.#current.doneCount })
    if (this.#isRepeating) {
      // The rest of both files is still to come.
      if (this.#other.entryCount > 0) {
        this.#append(this.#other, { kind: 'sealed', seq, entryCount: this.#other.doneCount })
      }
      this.#appendFiles(this.#current, unstored, lost)
      return
    }
    const next = this.#other
    this.#other = this.#current
    this.#current = next
    this.#isBroken = false
    this.#open(next, this.#other.generation + 1, unstored, lost)
  }

  /** The first record is never cut off, it is overwritten: where it was there is room, also when the disk is full, and without it
   *  nobody would know that this mount was served before. */
  #open(file: JournalFile, generation: number, unstored: readonly number[], lost: readonly number[]): void {
    const isCut = this.#cut(file, Math.min(file.sizeBytes, openedRecordBytes))
    Object.assign(file, { sizeBytes: 0, entryCount: 0, doneCount: 0, generation, records: [] })
    if (!isCut) return
    this.#append(file, { kind: 'opened', generation })
    this.#appendFiles(file, unstored, lost)
  }

  #appendFiles(file: JournalFile, unstored: readonly number[], lost: readonly number[]): void {
    if (unstored.length > 0) this.#append(file, { kind: 'unstored', nodeIds: unstored })
    if (lost.length > 0) this.#append(file, { kind: 'lost', nodeIds: lost })
  }

  #note(record: JournalRecord): void {
    if (record.kind === 'unstored') {
      this.#append(this.#current, record)
      return
    }
    if (this.#isBroken || this.#isRepeating) return
    const bytes = encodeRecord(record)
    if (this.#current.sizeBytes + bytes.length > fileBytesMax) {
      this.#breakOff(record.kind, new RangeError(`more than ${fileBytesMax} bytes`))
      return
    }
    if (!this.#append(this.#current, record, bytes)) return
    this.#current.entryCount++
    this.#current.doneCount++
  }

  /** @returns false when it could not be kept: then nothing that comes after may be, for it may rest on it */
  #append(file: JournalFile, record: JournalRecord, bytes = encodeRecord(record)): boolean {
    // It could not be begun, or sealed: only the next transaction begins it anew.
    if (file.sizeBytes === 0 && record.kind !== 'opened') return false
    try {
      const writtenBytes = writeSync(file.fd, bytes, 0, bytes.length, file.sizeBytes)
      if (writtenBytes !== bytes.length) throw new RangeError('written in part')
    } catch (error) {
      this.#breakOff(record.kind, error)
      if (record.kind !== 'opened') this.#cut(file, record.kind === 'sealed' ? openedRecordBytes : file.sizeBytes)
      return false
    }
    file.sizeBytes += bytes.length
    return true
  }

  /** Half a record would be read as something else together with the next. And what cannot be sealed would happen a second time: rather
   *  it is not kept at all.
   *  @returns whether that could be done */
  #cut(file: JournalFile, sizeBytes: number): boolean {
    try {
      ftruncateSync(file.fd, sizeBytes)
      file.sizeBytes = sizeBytes
      return true
    } catch (error) {
      this.#breakOff('sealed', error)
      return false
    }
  }

  /** Said once for each transaction. */
  #breakOff(kind: JournalRecord['kind'], error: unknown): void {
    if (!this.#isBroken) this.#log.warn('journal.not_kept', { kind, error })
    this.#isBroken = true
  }
}

/** Inode numbers are handed out in order. Two creates that waited at the same time may have been noted the other way
 *  round; they know nothing of each other. */
function inOrderOfNumbers<T extends { readonly entry: JournalEntry }>(entries: readonly T[]): T[] {
  const ordered: T[] = []
  let highest = 0
  for (const one of entries) {
    const nodeId = createdBy(one.entry)
    const isLate = nodeId !== null && nodeId < highest
    const at = isLate ? ordered.findIndex(({ entry }) => (createdBy(entry) ?? 0) > nodeId) : ordered.length
    ordered.splice(at, 0, one)
    highest = Math.max(highest, nodeId ?? 0)
  }
  return ordered
}

function readJournalFile(fd: number): JournalFile {
  const bytes = Buffer.alloc(fstatSync(fd).size)
  const records = decodeRecords(bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0)))
  const opened = records[0]
  if (opened === undefined && bytes.length < openedRecordBytes) {
    return { fd, sizeBytes: 0, entryCount: 0, doneCount: 0, generation: 0, records }
  }
  if (opened?.kind !== 'opened') throw new RangeError('a journal begins with its generation')
  const entryCount = records.filter(({ kind }) => kind === 'answered' || kind === 'forgotten').length
  const sizeBytes = records.reduce((sum, record) => sum + encodeRecord(record).length, 0)
  // Half a record, cut so that the next one has nothing behind it.
  if (sizeBytes < bytes.length) ftruncateSync(fd, sizeBytes)
  return { fd, sizeBytes, entryCount, doneCount: entryCount, generation: opened.generation, records }
}

function uniqueOf(request: Buffer): bigint {
  return InHeader.decode(request).unique & ~uniqueResend
}
