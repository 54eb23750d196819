/** What cachedb and its clients say to each other over RESP, beyond the commands of 0-db: data only. */

/** 0-db's error texts, matched literally by clients, and ours. Ours carry a prefix; 0-db's never did. */
export const ErrorText = {
  namespaceNotFound: 'Namespace not found',
  namespaceLocked: 'Namespace is temporarily locked (read-only)',
  namespaceFrozen: 'Namespace is temporarily frozen (read-write disabled)',
  namespaceReadOnly: 'Namespace is in read-only mode',
  namespaceFull: 'No space left on this namespace',
  keyNotFound: 'Key not found',
  noMoreData: 'No more data',
  internal: 'Internal Error',
  /** A newer OWNER took these namespaces. */
  ownerLost: 'OWNER another client owns this namespace',
  /** The disk or the cache is full, and stores make progress: try again soon. */
  fullWait: 'FULL wait',
  /** The disk or the cache is full, and nothing will make room by itself. */
  fullSpace: 'FULL space',
  /** Prefix of `COLD <segment>`: the value's segment is not on the local disk; WARM it and ask again. */
  coldPrefix: 'COLD ',
  /** Prefix of `IOERR <reason>`: the bytes exist nowhere that answers now, or fail their check. */
  ioErrorPrefix: 'IOERR ',
  /** Nobody stores segments, so nothing could be published. */
  noStore: 'ERR a recovery point needs a hook that stores segments',
  /** Prefix: a failed sync made the namespace read-only. */
  readOnlyPrefix: 'READONLY ',
} as const

/** Limits of the wire, from 0-db. */
export const WireLimit = { argumentsMax: 1024, bulkBytesMax: 8 * 1024 * 1024, keyBytesMax: 255 } as const

/** `OWNER <token> <namespace>…` answers one of these per namespace, in order, as the array
 *  [instance, nextId, appended, synced, incarnation]; `FSYNC <namespace>…` answers the same array per namespace.
 *  - instance: 16 hex digits, random per server process
 *  - nextId: the next sequential id (0 in user mode)
 *  - appended, synced: counts of entries appended since the server started, and of those known to be on disk
 *  - incarnation: 16 hex digits, random per namespace creation */
export interface NamespacePosition {
  readonly instance: string
  readonly nextId: number
  readonly appended: number
  readonly synced: number
  readonly incarnation: string
}

/** `POINT <namespace>…` answers [number, position…]: the number of the recovery point that will hold all that was executed in these
 *  namespaces before, and their positions as of the command, now on disk. */

/** `SEGMENTS` (current namespace) answers one array per segment: [id, state, dataBytes, liveBytes, objectId or nil, local 0|1, note]. */
export interface SegmentInfo {
  readonly id: number
  readonly state: SegmentState
  readonly dataBytes: number
  readonly liveBytes: number
  readonly objectId: string | null
  readonly local: boolean
  /** What is going on or why it is not stored: 'storing', 'store failed 3 times: …', ''. */
  readonly note: string
}
export type SegmentState = 'open' | 'closed' | 'stored' | 'absent' | 'gone'
