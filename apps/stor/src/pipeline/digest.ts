import { openSource } from '../segment-file.ts'
import type { Digests } from './frame-jobs.ts'
import type { FramePool, Slot } from './frame-pool.ts'

export interface FileDigest {
  readonly sizeBytes: number
  readonly sha256: Buffer
}

/** What a file is, to be compared with a record: whether it is stored already.
 *  @throws StorError 'file' */
export async function digestFile(path: string, pool: FramePool): Promise<FileDigest> {
  await using file = await openSource(path)
  const { fd, sizeBytes } = file
  const { sha256 } = await pool.run({ kind: 'digest-file', fd, sizeBytes })
  return { sizeBytes, sha256: Buffer.from(sha256) }
}

/** What of a pool digests streams. */
export type DigestPool = Pick<FramePool, 'nextStream' | 'run'>

/** The digests of what `feed` puts in. */
export async function digestOf(
  pool: DigestPool,
  options: { readonly blake2b: boolean },
  feed: (digest: StreamDigest) => Promise<void>,
): Promise<Digests> {
  const digest = new StreamDigest(pool, options)
  try {
    await feed(digest)
  } catch (error) {
    // Of no more use, but the worker keeps it until then; the failure that is told is the first one.
    await Promise.allSettled([digest.finish()])
    throw error
  }
  return await digest.finish()
}

/** The digests of a file whose bytes pass through slots, in order. */
export class StreamDigest {
  readonly #pool: DigestPool
  readonly #stream: number
  readonly #blake2b: boolean
  #partCount = 0

  constructor(pool: DigestPool, { blake2b }: { readonly blake2b: boolean }) {
    this.#pool = pool
    this.#stream = pool.nextStream()
    this.#blake2b = blake2b
  }

  /** Resolves when the slot's bytes are no longer needed. */
  async update(slot: Slot, atBytes: number, lengthBytes: number): Promise<void> {
    const part = { stream: this.#stream, partNumber: this.#partCount++, blake2b: this.#blake2b }
    await this.#pool.run({ kind: 'digest-part', ...part, slot: slot.memory, atBytes, lengthBytes })
  }

  /** Always to be called, also when the file is given up: the worker keeps the stream until then. Rejects when the
   *  worker did not see every part. */
  finish(): Promise<Digests> {
    return this.#pool.run({ kind: 'digest-end', stream: this.#stream, partCount: this.#partCount })
  }
}
