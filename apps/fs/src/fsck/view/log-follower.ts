import type { BlockId } from '../../store/store.ts'
import type { Checkpoint } from '../../tree/checkpoint-format.ts'
import { ringSlots, slotKey } from '../../tree/log-tail.ts'
import { decodeTransaction, type Transaction } from '../../tree/transaction-format.ts'
import type { Onlooker } from './onlooker.ts'

/** The filesystem changed faster than it could be read, or was mounted anew. */
export class MovedOn extends Error {
  override readonly name = 'MovedOn'
}

/** Most bytes of records that may change while a check reads the others. */
const changedBytesMax = 512 * 1024 * 1024

/** Slots of the ring asked for at once. */
const slotsInFlight = 32

/** Reads a log as a mount would replay it, and goes on reading while its filesystem writes it.
 *
 *  That makes a moment of many reads: each record that no transaction since the checkpoint touches was the same all the time,
 *  and all others are in the transactions, in order. So whatever was read of the homes, and however long it took, with
 *  these laid over it is the state after the last transaction read. */
export class LogFollower {
  readonly checkpoint: Checkpoint
  /** The newest bytes of each record that a transaction read so far holds. */
  readonly changed = new Map<string, Buffer | null>()
  readonly adds = new Set<BlockId>()
  readonly frees = new Set<BlockId>()
  readonly #onlooker: Onlooker
  readonly #firstNextBlockId: BlockId
  #nextSeq: number
  #changedBytes = 0
  /** The last transaction looked at names blocks that are lost: all from there on never happened. */
  #endsVoid = false

  constructor(onlooker: Onlooker, checkpoint: Checkpoint, nextBlockId: BlockId) {
    this.checkpoint = checkpoint
    this.#onlooker = onlooker
    this.#firstNextBlockId = nextBlockId
    this.#nextSeq = checkpoint.tail
  }

  /** Position behind the last transaction read. */
  get endSeq(): number {
    return this.#nextSeq
  }

  /** Reads all that was written since, up to the end of the log.
   *  @throws MovedOn when parts of it are gone already */
  async catchUp(): Promise<void> {
    for (this.#endsVoid = false; !this.#endsVoid; ) {
      const bytes = await this.#onlooker.getRecord(slotKey(this.#nextSeq, ringSlots))
      const transaction = bytes === null ? null : decodeTransaction(bytes)
      if (transaction === null || transaction.session < this.checkpoint.session) return
      if (transaction.session > this.checkpoint.session) throw new MovedOn('the filesystem was mounted meanwhile')
      if (transaction.seq < this.#nextSeq) return
      if (transaction.seq > this.#nextSeq) throw new MovedOn('the filesystem writes faster than it can be read')
      // As at a mount: its blocks are lost, so it never happened. Who writes now has them.
      if (await this.#isVoid(transaction)) this.#endsVoid = true
      else this.#take(transaction)
    }
  }

  /** Positions of whole transactions that lie behind one that cannot be read. */
  async strayTransactions(): Promise<number[]> {
    const found: number[] = []
    if (this.#endsVoid) return found
    for (let first = 0; first < ringSlots; first += slotsInFlight) {
      const slots = Array.from({ length: slotsInFlight }, (_, i) => slotKey(first + i, ringSlots))
      for (const bytes of await Promise.all(slots.map(key => this.#onlooker.getRecord(key)))) {
        const transaction = bytes === null ? null : decodeTransaction(bytes)
        if (transaction?.session === this.checkpoint.session && transaction.seq > this.#nextSeq) {
          found.push(transaction.seq)
        }
      }
    }
    return found
  }

  async #isVoid({ adds }: Transaction): Promise<boolean> {
    if (!adds.some(id => id >= this.#firstNextBlockId)) return false
    const nextBlockId = await this.#onlooker.nextBlockId()
    return adds.some(id => id >= nextBlockId)
  }

  #take({ records, adds, frees }: Transaction): void {
    for (const [key, bytes] of records) {
      this.#changedBytes += (bytes?.length ?? 0) - (this.changed.get(key)?.length ?? 0)
      // Views of the transaction would keep all of it.
      this.changed.set(key, bytes === null ? null : Buffer.copyBytesFrom(bytes))
    }
    if (this.#changedBytes > changedBytesMax) throw new MovedOn('too much changed while it was read')
    for (const id of adds) this.adds.add(id)
    for (const id of frees) this.frees.add(id)
    this.#nextSeq++
  }
}
