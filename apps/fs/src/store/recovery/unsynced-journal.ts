import type { BlockId } from '../store.ts'

/** A command the server has answered. Each may be repeated: the second time changes nothing. */
export type AnsweredCommand =
  | { readonly kind: 'put'; readonly id: BlockId; readonly bytes: Buffer }
  | { readonly kind: 'delete'; readonly id: BlockId }
  | { readonly kind: 'set'; readonly key: string; readonly value: Buffer }
  | { readonly kind: 'unset'; readonly key: string }

/** Everything the server has answered and no sync has covered, in the order of the answers: what a server that loses its
 *  page cache is told again. Counts all that was ever answered. */
export class UnsyncedJournal {
  #commands: AnsweredCommand[] = []
  #dropped = 0
  #sizeBytes = 0

  /** Commands answered so far. */
  get answered(): number {
    return this.#dropped + this.#commands.length
  }

  get synced(): number {
    return this.#dropped
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  get commands(): readonly AnsweredCommand[] {
    return this.#commands
  }

  add(command: AnsweredCommand): void {
    this.#commands.push(command)
    this.#sizeBytes += commandBytes(command)
  }

  /** A sync covered the first `count` commands ever answered. Syncs may end in another order than they began. */
  dropUpTo(count: number): void {
    if (count <= this.#dropped) return
    const covered = this.#commands.slice(0, count - this.#dropped)
    this.#commands = this.#commands.slice(covered.length)
    this.#dropped += covered.length
    for (const command of covered) this.#sizeBytes -= commandBytes(command)
  }
}

/** What an entry costs beside the bytes it holds: measured in tens, so that many small ones count too. */
const overheadBytes = 64

function commandBytes(command: AnsweredCommand): number {
  switch (command.kind) {
    case 'put':
      return overheadBytes + command.bytes.length
    case 'set':
      return overheadBytes + command.value.length
    default:
      return overheadBytes
  }
}
