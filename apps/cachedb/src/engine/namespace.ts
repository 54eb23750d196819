import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import type { NamespacePosition, SegmentInfo } from '@qsfs/protocol/cachedb-commands'
import type { Log } from '@qsfs/telemetry/log'
import type { Storage } from '../segment/storage.ts'
import type { Hooks } from './hooks.ts'
import type { Room } from './room.ts'
import type { ValueCache } from './value-cache.ts'

export type MaybePromise<T> = T | Promise<T>
export type KeyMode = 'user' | 'sequential'

/** What is kept of a namespace beside its values. */
export interface NamespaceSettings {
  readonly mode: KeyMode
  /** Quota of live payload bytes, 0 = none. */
  readonly maxBytes: number
  readonly public: boolean
  readonly worm: boolean
  /** In clear, '' = none: 0-db's SELECT SECURE cannot be answered from a hash. */
  readonly password: string
}

/** What all namespaces of one server share. */
export interface EngineContext {
  readonly storage: Storage
  readonly clock: Clock
  readonly log: Log
  readonly random: RandomSource
  readonly hooks: Hooks
  readonly room: Room
  readonly values: ValueCache
  /** 16 hex digits, random per server process. */
  readonly instance: string
  readonly limits: EngineLimits
}

export interface EngineLimits {
  /** A segment that would grow past this is closed first; at most 2 GiB. */
  readonly segmentBytesMax: number
  /** `always`: every put and delete is synced before the next one is executed is NOT meant: the caller awaits `sync` before it replies. */
  readonly fsync: 'on-request' | 'always' | 'interval'
}

export interface NamespaceInfo {
  readonly entries: number
  readonly dataBytes: number
  readonly keydirBytes: number
  /** Next sequential id; in user mode the number of inserts seen. */
  readonly nextId: number
  readonly activeSegmentId: number
  readonly activeBytes: number
  readonly activePath: string
  readonly activeHintPath: string
  readonly freeBytes: number
}

export interface ScanPage {
  /** 0-db's 17 bytes, of the last entry returned. */
  readonly cursor: Buffer
  readonly entries: readonly { readonly key: Buffer; readonly valueBytes: number; readonly timestampSeconds: number }[]
}

/** One namespace: the single writer of its directory, owner of its segments and its keydir.
 *  Errors that a client may see are CommandErrors (errors.ts); anything else is a bug or `Internal Error`.
 *  Buffers passed in are borrowed until the call returns; buffers handed out are never changed. */
export class Namespace implements AsyncDisposable {
  readonly name: string
  readonly directory: string
  /** Pinned namespaces are never evicted and may use the room reserved for transactions. */
  readonly pinned: boolean

  /** Opens the namespace in `directory`, recovering what is there; makes it with `initial` when there is none.
   *  Closed segments that are not stored are owed their store hook at once. */
  static open(name: string, directory: string, initial: NamespaceSettings, options: { pinned: boolean }, context: EngineContext): Promise<Namespace>

  get settings(): NamespaceSettings
  /** 16 hex digits, random per creation (and per FLUSH). */
  get incarnation(): string
  /** Durable when it settles. `mode` may change only while `isFresh`. */
  update(settings: NamespaceSettings): Promise<void>
  /** Nothing was ever inserted and segment 0 is the active one. */
  get isFresh(): boolean

  /** SET. In the kernel when it returns; durable after `sync`.
   *  @returns the key (sequential: the 8 bytes of the id; user: as given), null when the value was already there
   *  @throws KeyRefused, NamespaceFull, CacheFull, NamespaceReadOnly */
  put(key: Buffer, value: Buffer, timestampSeconds?: number): Buffer | null
  /** DEL. @throws KeyNotFound, KeyRefused, CacheFull, NamespaceReadOnly */
  delete(key: Buffer, timestampSeconds?: number): void
  /** null when the key does not live. `cold` says what an absent segment means: an error at once, or waiting for its restore.
   *  @throws ColdSegment, SegmentUnavailable */
  get(key: Buffer, options: { cold: 'fail' | 'wait' }): MaybePromise<Buffer | null>
  /** A part of the value; shorter or empty at its end. */
  getRange(key: Buffer, offsetBytes: number, lengthBytes: number, options: { cold: 'fail' | 'wait' }): MaybePromise<Buffer | null>
  /** 0-db's CHECK: 1 good, 0 the checksum differs, -1 unreadable, null when the key does not live. */
  check(key: Buffer): MaybePromise<1 | 0 | -1 | null>
  /** Without touching a file: null when the key does not live. */
  stat(key: Buffer): { readonly valueBytes: number; readonly timestampSeconds: number } | null
  /** Live entries in append order, strictly behind `after`, for up to `budgetMs` and at least one. null: no more data.
   *  @throws KeyRefused 'Invalid key format' */
  scan(after: Buffer | null, budgetMs: number): MaybePromise<ScanPage | null>

  /** Everything executed before the call is on disk when it settles; concurrent calls share one sync.
   *  @throws NamespaceReadOnly */
  sync(): Promise<NamespacePosition>
  get position(): NamespacePosition
  /** Brings an absent segment back; settles when its values can be read. Joined by concurrent calls.
   *  @throws SegmentUnavailable */
  warm(segmentId: number): Promise<void>
  /** NSJUMP: closes the open segment, even an empty one. */
  jump(): void
  /** Drops every value and starts again at id 0, settings kept. */
  flush(): Promise<void>
  info(): NamespaceInfo
  segments(): readonly SegmentInfo[]

  /** Records that it is dropped, then removes it; its objects' deletion goes on by itself, also after a restart. Ends the namespace. */
  drop(): Promise<void>
  /** Syncs and closes. Store hooks under way are left to finish or die; they are owed again at the next start. */
  [Symbol.asyncDispose](): Promise<void>
}
