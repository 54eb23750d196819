import { entryBytes } from '../../segment/format.ts'
import type { Tombstone } from '../../segment/hint-format.ts'
import type { KeyMode } from '../namespace.ts'
import type { SegmentLife } from '../shelf/life.ts'
import type { EntryLocation, Keydir, ValueInHint } from './keydir.ts'
import { SequentialKeydir } from './keydir-sequential.ts'
import { UserKeydir } from './keydir-user.ts'

/** What the entries of a namespace, applied in append order, amount to: which values live, and what each segment is still needed
 *  for. The same rules serve the running namespace and its recovery. */
export class Catalog {
  readonly mode: KeyMode
  readonly #keydir: Keydir
  readonly #lifeOf: (segmentId: number) => SegmentLife
  /** Told of segments that lost a live value. */
  readonly #onLoss: (segmentId: number) => void
  #dataBytes = 0

  constructor(
    mode: KeyMode,
    seed: number,
    lifeOf: (segmentId: number) => SegmentLife,
    onLoss: (segmentId: number) => void,
  ) {
    this.mode = mode
    this.#keydir = mode === 'user' ? new UserKeydir(seed) : new SequentialKeydir(seed)
    this.#lifeOf = lifeOf
    this.#onLoss = onLoss
  }

  /** Live keys. */
  get count(): number {
    return this.#keydir.count
  }

  /** Payload bytes of live keys. */
  get dataBytes(): number {
    return this.#dataBytes
  }

  get memoryBytes(): number {
    return this.#keydir.memoryBytes
  }

  find(key: Uint8Array): EntryLocation | null {
    return this.#keydir.get(key)
  }

  /** A value was appended. */
  put(key: Uint8Array, location: Omit<EntryLocation, 'updated'>): void {
    const previous = this.#keydir.get(key)
    this.#keydir.set(key, { ...location, updated: previous !== null })
    this.#lifeOf(location.segmentId).addValue(entryBytes(key.length, location.valueBytes))
    this.#dataBytes += location.valueBytes
    if (previous !== null) this.#forget(key, previous)
  }

  /** About so many values will be added, before anything else is: an index that need not grow is loaded in two thirds of the time. */
  expect(count: number): void {
    this.#keydir.expect(count)
  }

  /** They were: gives back memory of those that did not live, in steps of less than a millisecond. */
  fit(): Iterable<void> {
    return this.#keydir.fit()
  }

  /** As `put`, of a key that nothing is known of, for millions of them.
   *  @returns false when something is: nothing has changed then, and it is to be `put` */
  add(value: ValueInHint, life: SegmentLife): boolean {
    if (!this.#keydir.add(value, life.segmentId)) return false
    life.addValue(entryBytes(value.keyBytes, value.valueBytes))
    this.#dataBytes += value.valueBytes
    return true
  }

  /** A value that lies elsewhere was appended again. It is not updated by that, so that its deletion needs to remember no more than
   *  it would have: the source goes before the copy may. */
  copy(key: Uint8Array, location: Omit<EntryLocation, 'updated'>): void {
    const previous = this.#keydir.get(key)
    // In a recovery the source may be gone, and what is found instead be an older value.
    const source = previous !== null && isSame(previous, location) ? previous : null
    const updated = source?.updated ?? previous !== null
    this.#keydir.set(key, { ...location, updated })
    const life = this.#lifeOf(location.segmentId)
    life.addValue(entryBytes(key.length, location.valueBytes))
    this.#dataBytes += location.valueBytes
    if (source !== null) life.addCopyOf(this.#lifeOf(source.segmentId))
    if (previous !== null) this.#forget(key, previous)
  }

  /** How long a deletion of the key, appended to this segment now, must be remembered. */
  tombstoneOf(key: Uint8Array, segmentId: number): Tombstone {
    const location = this.#keydir.get(key)
    // Sequential ids are never given again: the one value of an id that was never updated is all there is to forget.
    const killsOne = this.mode === 'sequential' && location !== null && !location.updated
    return { killsOne, originSegmentId: killsOne ? location.segmentId : segmentId }
  }

  /** A deletion was appended to the segment. */
  delete(key: Uint8Array, segmentId: number, tombstone: Tombstone): void {
    this.#lifeOf(segmentId).addTombstone(tombstone, entryBytes(key.length, 0))
    const previous = this.#keydir.delete(key)
    if (previous !== null) this.#forget(key, previous)
  }

  #forget(key: Uint8Array, { segmentId, valueBytes }: EntryLocation): void {
    this.#lifeOf(segmentId).removeValue(entryBytes(key.length, valueBytes))
    this.#dataBytes -= valueBytes
    this.#onLoss(segmentId)
  }
}

/** Whether these may be one value at two places. Two updates within a second that are alike in all that is known pass for one: then
 *  more is remembered than needed. */
function isSame(a: Omit<EntryLocation, 'updated'>, b: Omit<EntryLocation, 'updated'>): boolean {
  const haveCrcs = a.valueCrc >= 0 && b.valueCrc >= 0
  return (
    a.valueBytes === b.valueBytes &&
    a.timestampSeconds === b.timestampSeconds &&
    (!haveCrcs || a.valueCrc === b.valueCrc)
  )
}
