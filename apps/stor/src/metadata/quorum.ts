import type { Generation } from './object-record.ts'

/** k shards rebuild a record, n backends hold one each, a generation is committed once `writeQuorum` of them hold it. */
export interface Quorum {
  readonly k: number
  readonly n: number
  readonly writeQuorum: number
}

/** What one backend showed of a record. `whole`: it answered, and all it holds passed its check. A backend that is
 *  silent, or holds a damaged slot, may hold any generation that it does not show. */
export interface Shown<G> {
  readonly generations: readonly G[]
  readonly whole: boolean
}

/** - take: this generation is the newest that can have been committed, and it decodes
 *  - unavailable: a generation may have been committed that the answers do not settle
 *  - none: the record does not exist */
export type Decision<G> =
  | { readonly kind: 'take'; readonly generation: G; readonly shardCount: number }
  | { readonly kind: 'unavailable' }
  | { readonly kind: 'none' }

/** W of protocols.md: any two such sets meet, and what W hold survives the loss of a holder. For records and for shards. */
export function writeQuorum(k: number, n: number): number {
  return Math.min(n, Math.max(k + 1, Math.floor(n / 2) + 1))
}

export function quorumOf(k: number, n: number): Quorum {
  return { k, n, writeQuorum: writeQuorum(k, n) }
}

/** The counting rule of protocols.md. From the newest generation down, c backends show it and u may hold it unseen:
 *  c >= k, take it; else c + u >= W, it may be committed, so nothing older may be returned; else it never was.
 *
 *  Proof. Let C be committed on W backends. Its slot is overwritten only once a newer generation is committed. At least
 *  W - u of its holders show it, so c + u >= W and C is never passed over; newer ones come first. With u >= W no holder
 *  of C need be among those who answer, so nothing can be said.
 *  @param shown one per backend that was asked or not: n in all
 *  @see quorum.test.ts, which walks every state of 2+2 */
export function decide<G>(
  shown: readonly Shown<G>[],
  { k, writeQuorum }: Quorum,
  compare: (a: G, b: G) => number,
): Decision<G> {
  const unseen = shown.filter(({ whole }) => !whole)
  if (unseen.length >= writeQuorum) return { kind: 'unavailable' }
  for (const generation of newestFirst(shown, compare)) {
    const shows = ({ generations }: Shown<G>) => generations.some(other => compare(other, generation) === 0)
    const shardCount = shown.filter(shows).length
    if (shardCount >= k) return { kind: 'take', generation, shardCount }
    const hidden = unseen.filter(backend => !shows(backend)).length
    if (shardCount + hidden >= writeQuorum) return { kind: 'unavailable' }
  }
  return { kind: 'none' }
}

/** The newest generation that decodes, committed or not: for objects, whose generations all describe the same bytes. */
export function newestDecodable<G>(
  shown: readonly Shown<G>[],
  { k }: Quorum,
  compare: (a: G, b: G) => number,
): G | null {
  for (const generation of newestFirst(shown, compare)) {
    const holders = shown.filter(({ generations }) => generations.some(other => compare(other, generation) === 0))
    if (holders.length >= k) return generation
  }
  return null
}

/** By epoch, then counter, then attempt: two attempts that computed the same counter are still two generations. */
export function compareGenerations(a: Generation, b: Generation): number {
  return a.epoch - b.epoch || a.counter - b.counter || Buffer.compare(a.attempt, b.attempt)
}

function newestFirst<G>(shown: readonly Shown<G>[], compare: (a: G, b: G) => number): G[] {
  const sorted = shown.flatMap(({ generations }) => generations).sort((a, b) => compare(b, a))
  return sorted.filter((generation, i) => i === 0 || compare(generation, sorted[i - 1]!) !== 0)
}
