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

/** Key → location of every live key, in memory. Keys passed in are borrowed. */
export interface Keydir {
  readonly count: number
  readonly memoryBytes: number
  get(key: Uint8Array): EntryLocation | null
  /** @returns the location it had before */
  set(key: Uint8Array, location: EntryLocation): EntryLocation | null
  /** @returns the location it had */
  delete(key: Uint8Array): EntryLocation | null
}
