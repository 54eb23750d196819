/** Where the newest value of a key lies. */
export interface EntryLocation {
  readonly segmentId: number
  readonly offsetBytes: number
  readonly valueBytes: number
  readonly timestampSeconds: number
  /** 0-db's checksum of the value; -1 where the keydir does not keep it. */
  readonly valueCrc: number
  /** An older value of this key was once written: its tombstone must outlive all older segments. */
  readonly updated: boolean
}

/** A value that an entry of a hint tells, without an object of it. */
export interface ValueInHint {
  /** Its key: `keyBytes` bytes from `keyAt` on. */
  readonly bytes: Buffer
  readonly keyAt: number
  readonly keyBytes: number
  readonly offsetBytes: number
  readonly valueBytes: number
  readonly timestampSeconds: number
  readonly valueCrc: number
}

/** Key → location of every live key, in memory. Keys passed in are borrowed. */
export interface Keydir {
  readonly count: number
  readonly memoryBytes: number
  get(key: Uint8Array): EntryLocation | null
  /** @returns the location it had before */
  set(key: Uint8Array, location: EntryLocation): EntryLocation | null
  /** About so many keys come soon, into an empty keydir. */
  expect(count: number): void
  /** Gives back the memory that keys were expected to take and did not, in steps of less than a millisecond. */
  fit(): Iterable<void>
  /** As `set` of a key that is not there.
   *  @returns false when it is: nothing has changed then */
  add(value: ValueInHint, segmentId: number): boolean
  /** @returns the location it had */
  delete(key: Uint8Array): EntryLocation | null
}
