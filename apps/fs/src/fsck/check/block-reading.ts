import { crc32c } from '@qsfs/bytes/checksum'
import type { BlockId } from '../../store/store.ts'
import { BlockUnreadable, type Onlooker } from '../view/onlooker.ts'
import type { Claim } from './block-claims.ts'
import type { CheckContext } from './check.ts'

/** Of 128 KiB at most. */
const readsInFlight = 16

interface Block {
  readonly id: BlockId
  readonly claim: Claim
}

/** Reads blocks and compares them with their checksums: all the way back from wherever they are. */
export class BlockReading {
  readonly #context: CheckContext
  readonly #onlooker: Onlooker
  readonly #gone: Block[] = []
  #waiting: Block[] = []

  constructor(context: CheckContext, onlooker: Onlooker) {
    this.#context = context
    this.#onlooker = onlooker
  }

  async add(id: BlockId, claim: Claim): Promise<void> {
    this.#waiting.push({ id, claim })
    if (this.#waiting.length === readsInFlight) await this.#readWaiting()
  }

  /** After the last one. */
  async finish(): Promise<void> {
    await this.#readWaiting()
    await this.#context.goOn()
    for (const block of this.#gone) {
      // A file that was changed since the moment that is checked.
      if (!this.#context.wasFreedSince(block.id)) this.#report(block, 'it has vanished')
    }
  }

  async #readWaiting(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    await Promise.all(waiting.map(block => this.#read(block)))
  }

  async #read(block: Block): Promise<void> {
    try {
      const bytes = await this.#onlooker.getBlock(block.id)
      if (bytes === null) this.#gone.push(block)
      else if (crc32c(bytes) !== block.claim.crc) this.#report(block, 'it is not what was written')
    } catch (error) {
      if (!(error instanceof BlockUnreadable)) throw error
      this.#report(block, error.message)
    }
  }

  #report({ id, claim }: Block, detail: string): void {
    this.#context.findings.add('block-unreadable', `block ${id}`, detail, { nodeId: claim.owner })
  }
}
