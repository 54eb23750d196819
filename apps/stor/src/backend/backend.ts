import { StorError } from '../errors.ts'

/** The id a backend gave a value: a sequential 0-db key, or a directory backend's own counter. Never used twice. */
export type PieceId = number

export interface BackendOptions {
  /** Honoured before the request is sent; afterwards the answer is no longer waited for, and what was put may stay. */
  readonly signal?: AbortSignal
}

export interface SyncOptions extends BackendOptions {
  /** The pieces that the caller is about to rely on: the sync also fails when one of them is known to be lost. */
  readonly ids?: Iterable<PieceId>
}

/** How a backend is reached over the network. */
export interface BackendLink {
  /** What the handshake agreed on; null without TLS. */
  readonly tls: { readonly version: string; readonly group: string } | null
  /** Passwords: none; as answers to challenges; as they are. */
  readonly passwordsSent: 'none' | 'hashed' | 'clear'
}

/** What a backend says of itself. */
export interface BackendStat {
  readonly valueCount: number
  /** null where it would have to be counted file by file. */
  readonly usedBytes: number | null
  /** Room for new values, null where the backend does not say. */
  readonly freeBytes: number | null
  /** What an answered sync means there: on its disk; nothing (memory only); or not known, as with a C 0-db, which has no
   *  FSYNC and syncs only when it was started with `--sync`. */
  readonly durability: 'disk' | 'memory' | 'unknown'
  /** Of what is reached over a connection. */
  readonly link?: BackendLink | null
  /** What a 0-db server says of itself in numbers, by NSINFO's names, as far as it says it. No directory does. */
  readonly said?: ReadonlyMap<string, number>
}

/** One place that holds pieces of shards: a sequential namespace of a 0-db server, or a directory.
 *
 *  Every method rejects with `StorError`: 'missing' (the backend answered: not here), 'unavailable' (it did not answer),
 *  'full' (no room), 'damaged' (what it holds fails its own check). Nothing is repeated inside an implementation;
 *  retrying, limiting and measuring are decorators around it.
 *
 *  Bytes passed to `put` are borrowed until the promise settles. Bytes returned by `get` belong to the caller. */
export interface Backend extends AsyncDisposable {
  /** The stable name used in records: the config's `name`, else address + namespace. */
  readonly name: string

  /** Stores a value and answers the id the backend chose. Puts that are started one after the other, without waiting,
   *  are applied in that order, so the pieces of a shard become runs of ids. Not idempotent: a put that is repeated
   *  after a lost answer leaves an orphan behind, which scrub removes. On disk only after `sync`. */
  put(bytes: Uint8Array, options?: BackendOptions): Promise<PieceId>

  /** Reads a value. Goes down a connection that carries no put, so that a read-back sees what the server holds. */
  get(id: PieceId, options?: BackendOptions): Promise<Buffer>

  /** Removes values; one that is not there is success. On disk when it resolves, as far as `sync` can say so. */
  remove(ids: readonly PieceId[], options?: BackendOptions): Promise<void>

  /** The ids present, ascending, in batches of at most a few thousand. */
  list(options?: BackendOptions): AsyncIterable<readonly PieceId[]>

  stat(options?: BackendOptions): Promise<BackendStat>

  /** Resolves when every value whose put resolved before this call began is on the backend's disk: FSYNC for cachedb,
   *  file and directory fsync for a directory. Rejects with 'missing' when one of them was lost before it was on disk (the
   *  server was restarted, or its disk failed): what rests on it must be put again. */
  sync(options?: SyncOptions): Promise<void>
}

/** One place that holds records under keys of the caller's choice: a user-mode namespace, or a directory. The same
 *  rules as for `Backend`; every call may be repeated, the second time changes nothing. */
export interface RecordBackend extends AsyncDisposable {
  readonly name: string
  /** Replaces the value under `key` (at most 255 bytes). On disk when it resolves. */
  set(key: Uint8Array, bytes: Uint8Array, options?: BackendOptions): Promise<void>
  /** Null when the backend answered that there is none. */
  get(key: Uint8Array, options?: BackendOptions): Promise<Buffer | null>
  /** A key that is not there is success. On disk when it resolves. */
  remove(key: Uint8Array, options?: BackendOptions): Promise<void>
  /** The keys present, in no order, in batches of at most a few thousand. */
  list(options?: BackendOptions): AsyncIterable<readonly Buffer[]>
  stat(options?: BackendOptions): Promise<BackendStat>
}

/** A value; null where the backend has none under this id, or only damaged bytes.
 *  @throws StorError for any other reason */
export async function getOrNull(backend: Backend, id: PieceId, options?: BackendOptions): Promise<Buffer | null> {
  try {
    return await backend.get(id, options)
  } catch (error) {
    if (error instanceof StorError && (error.reason === 'missing' || error.reason === 'damaged')) return null
    throw error
  }
}
