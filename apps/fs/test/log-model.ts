import { type LogFields, silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import type { Prng } from '@qsfs/testkit/prng'
import type { BlockId, Store } from '../src/store/store.ts'
import { MetadataLog } from '../src/tree/metadata-log.ts'

/** What a history does between two crashes, from outside the log. */
export interface ModelDisk {
  /** Opens the disk as a mount would. */
  open(): Promise<Store>
  /** The process dies, perhaps the machine with it; a history goes on with `open`. */
  crash(): Promise<void> | void
  /** true: this failure is the crash of the test, not a finding. */
  isCrash(error: unknown): boolean
  /** Ids of the blocks that exist, when the disk can tell. */
  liveBlocks?(): Iterable<BlockId>
}

interface Piece {
  readonly token: string
  id: BlockId | null
}

const fileCount = 4
const piecesPerFile = 3
const ringSlots = 6

/** Files as rows of block tokens over a MetadataLog: random changes, commits, syncs and crashes. After each crash the
 *  tree must equal the tree after some transaction that is not older than the last acknowledged fsync, every piece with
 *  its own bytes, and no block may be left that nothing names. */
export class LogModel {
  readonly #disk: ModelDisk
  readonly #prng: Prng
  #clock = new ManualClock()
  #log!: MetadataLog
  #store!: Store
  #files: (Piece | null)[][] = []
  #dirty = new Set<number>()
  #tokenCount = 0
  /** Trees after each transaction since the mount, and the oldest that may be found after a crash. */
  #states: string[] = []
  #acknowledged = 0

  constructor(disk: ModelDisk, prng: Prng) {
    this.#disk = disk
    this.#prng = prng
    this.#states = [this.#view(this.#emptyFiles())]
  }

  /** @returns null, or what was found to be broken */
  async run(steps: number): Promise<string | null> {
    let finding = await this.#mountAfterCrash()
    for (let i = 0; i < steps && finding === null; i++) {
      try {
        if (!(await this.#step())) continue
      } catch (error) {
        if (!this.#disk.isCrash(error)) throw error
      }
      await this.#disk.crash()
      finding = await this.#mountAfterCrash()
    }
    if (this.#backgroundFailure !== undefined) throw this.#backgroundFailure
    return finding
  }

  /** true: the process is to crash now. */
  async #step(): Promise<boolean> {
    const choice = this.#prng.below(22)
    if (choice < 8) this.#write()
    else if (choice < 9) this.#truncate()
    else if (choice < 11) this.#rename()
    else if (choice < 15) await this.#commit()
    else if (choice < 17) await this.#fsync()
    else if (choice < 18) await this.#store.sync()
    else if (choice < 19) await this.#flushUnnamed()
    else if (choice < 21) await this.#clock.advance(1000)
    else return this.#prng.chance(0.7)
    return false
  }

  async #mountAfterCrash(): Promise<string | null> {
    for (;;) {
      try {
        this.#store = await this.#disk.open()
        const options = { commitDelayMs: 1000, ringSlots }
        this.#clock = new ManualClock()
        this.#log = await MetadataLog.open(this.#store, this.#clock, this.#backgroundLog(), options)
        return await this.#compare()
      } catch (error) {
        if (!this.#disk.isCrash(error)) throw error
        await this.#disk.crash()
      }
    }
  }

  async #compare(): Promise<string | null> {
    const files = this.#emptyFiles()
    const named = new Set<BlockId>()
    for (const [index, file] of files.entries()) {
      const bytes = await this.#log.read(`i${index}`)
      if (bytes === null) continue
      const ids = JSON.parse(bytes.toString()) as (BlockId | null)[]
      for (const [at, id] of ids.entries()) {
        if (id === null) continue
        named.add(id)
        const token = await this.#store.getBlock(id, 0, tokenBytes).catch(error => {
          if (this.#disk.isCrash(error)) throw error
          return null
        })
        file[at] = { token: token === null ? 'MISSING' : token.toString(), id }
      }
    }
    const found = this.#view(files)
    if (!this.#states.includes(found, this.#acknowledged)) {
      if (found.includes('MISSING')) return 'a named block is missing'
      return this.#states.includes(found) ? 'an acknowledged fsync is lost' : 'a tree that never was'
    }
    for (const id of this.#disk.liveBlocks?.() ?? []) if (!named.has(id)) return `block ${id} is left over`
    this.#files = files
    this.#dirty.clear()
    this.#states = [found]
    this.#acknowledged = 0
    return null
  }

  /** What fails in the background is a finding too, unless it is the crash. */
  #backgroundLog() {
    const warn = (_name: string, fields?: LogFields) => {
      if (!this.#disk.isCrash(fields?.error)) this.#backgroundFailure ??= fields?.error
    }
    return { ...silentLog, warn }
  }
  #backgroundFailure: unknown

  #write(): void {
    const index = this.#prng.below(fileCount)
    const at = this.#prng.below(piecesPerFile)
    this.#free([this.#files[index]![at] ?? null])
    this.#files[index]![at] = { token: `x${++this.#tokenCount}`.padEnd(tokenBytes, '.'), id: null }
    this.#dirty.add(index)
  }

  #truncate(): void {
    const index = this.#prng.below(fileCount)
    this.#free(this.#files[index]!)
    this.#files[index] = new Array(piecesPerFile).fill(null)
    this.#dirty.add(index)
  }

  #rename(): void {
    const [a, b] = [this.#prng.below(fileCount), this.#prng.below(fileCount)]
    ;[this.#files[a], this.#files[b]] = [this.#files[b]!, this.#files[a]!]
    this.#dirty.add(a).add(b)
  }

  #freed: BlockId[] = []
  #free(pieces: readonly (Piece | null)[]): void {
    for (const piece of pieces) if (piece?.id != null) this.#freed.push(piece.id)
  }

  /** Stores some dirty pieces; a crash before the next commit leaves them without a name. */
  async #flushUnnamed(): Promise<void> {
    const puts: Promise<void>[] = []
    for (const index of this.#dirty) {
      for (const piece of this.#files[index]!) if (piece !== null && piece.id === null) puts.push(this.#put(piece))
    }
    for (const result of await Promise.allSettled(puts)) if (result.status === 'rejected') throw result.reason
  }

  async #put(piece: Piece): Promise<void> {
    piece.id = await this.#log.putBlock(Buffer.from(piece.token))
    this.#unnamed.push(piece.id)
  }
  #unnamed: BlockId[] = []

  async #commit(): Promise<void> {
    await this.#flushUnnamed()
    await this.#log.room()
    const freed = new Set(this.#freed.splice(0))
    this.#log.addBlocks(this.#unnamed.splice(0).filter(id => !freed.has(id)))
    this.#log.freeBlocks([...freed])
    for (const index of this.#dirty) {
      const ids = JSON.stringify(this.#files[index]!.map(piece => piece?.id ?? null))
      const isEmpty = this.#files[index]!.every(piece => piece === null)
      this.#log.touch({ key: `i${index}`, encode: () => (isEmpty ? null : Buffer.from(ids)) })
    }
    this.#dirty.clear()
    this.#states.push(this.#view(this.#files))
    await this.#log.commit()
  }

  async #fsync(): Promise<void> {
    await this.#commit()
    const covered = this.#states.length - 1
    await this.#log.fsync()
    this.#acknowledged = covered
  }

  #emptyFiles(): (Piece | null)[][] {
    this.#freed = []
    this.#unnamed = []
    return Array.from({ length: fileCount }, () => new Array<Piece | null>(piecesPerFile).fill(null))
  }

  #view(files: readonly (readonly (Piece | null)[])[]): string {
    return JSON.stringify(files.map(file => file.map(piece => piece?.token ?? null)))
  }
}

const tokenBytes = 8
