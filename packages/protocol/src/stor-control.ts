/** What stor's control socket takes and answers, on top of the line protocol of daemon/control.ts. Page: docs/formats/stor-control.md. */
import { z } from 'zod'

/** 16 random bytes as 32 lower-case hex digits: one per upload attempt. */
export const objectIdText = z.string().regex(/^[0-9a-f]{32}$/, 'an object id is 32 lower-case hex digits')

// The daemon has another working directory than its clients, so every path it is sent is absolute.
const absolutePath = z
  .string()
  .min(2)
  .max(4096)
  .regex(/^\/[^\0]*$/, 'must be an absolute path')
/** An object's name: the path it was stored from, `root` stripped by the daemon. */
const objectName = absolutePath

export const storeParams = z.strictObject({
  file: absolutePath,
  /** Name to store under when it is not the file's own path. */
  name: objectName.optional(),
  /** A second small file that becomes part of the object (the segment's hint). */
  attach: absolutePath.optional(),
  /** Delete the local file once what is in it is stored. */
  delete: z.boolean().optional(),
  /** A failed store becomes a job: the daemon keeps trying. */
  saveFailure: z.boolean().optional(),
  /** Answer as soon as the job is on the daemon's disk. */
  notBlocking: z.boolean().optional(),
})
export const retrieveParams = z.strictObject({
  /** Where the bytes are published: written beside it, synced, renamed. */
  file: absolutePath,
  name: objectName.optional(),
  objectId: objectIdText.optional(),
  attachmentTo: absolutePath.optional(),
  /** Only these bytes of the file, cut at its end. */
  range: z
    .strictObject({ offsetBytes: z.int().nonnegative(), lengthBytes: z.int().nonnegative() })
    .refine(({ offsetBytes, lengthBytes }) => Number.isSafeInteger(offsetBytes + lengthBytes), 'ends beyond all files')
    .optional(),
})
export const checkParams = z.strictObject({
  file: objectName.optional(),
  objectId: objectIdText.optional(),
  /** Read and verify every shard. */
  deep: z.boolean().optional(),
  /** false: only what the record says, `checksum` being '' while nobody asked for it; no shard is read. */
  checksum: z.literal(false).optional(),
})
export const deleteParams = z.strictObject({ file: objectName.optional(), objectId: objectIdText.optional() })
/** `drop`: forget this one, instead of a listing. */
export const jobsParams = z.strictObject({
  drop: z
    .string()
    .regex(/^\d{1,15}$/, 'a job id is a number')
    .optional(),
})
/** Which objects are read whole and rebuilt where they lack: exactly one of these. */
export const rebuildParams = z.strictObject({
  file: objectName.optional(),
  objectId: objectIdText.optional(),
  /** zstor's metadata key, `/<prefix>/meta/<hash of the name>`. */
  key: z.string().max(256).optional(),
  all: z.boolean().optional(),
})
export const statusParams = z.strictObject({})
export const planParams = z.strictObject({})
export const testParams = z.strictObject({})
export const recoverParams = z.strictObject({})
/** `deep`: a new root key, under which all records are sealed anew; else a new master secret. */
export const rotateKeyParams = z.strictObject({ deep: z.boolean().optional() })

export type StoreParams = z.infer<typeof storeParams>
export type RetrieveParams = z.infer<typeof retrieveParams>
export type CheckParams = z.infer<typeof checkParams>
export type DeleteParams = z.infer<typeof deleteParams>
export type RebuildParams = z.infer<typeof rebuildParams>

export interface StoreResult {
  readonly objectId: string
  readonly name: string
  readonly sizeBytes: number
  /** Data locations whose shard is on their disk, of `shardCount`. The object survives the loss of shardsConfirmed - k. */
  readonly shardsConfirmed: number
  readonly shardCount: number
  /** True when the same bytes were already stored under this name and nothing was sent. */
  readonly repeated: boolean
  /** The object that had this name before, if another one; it still exists. */
  readonly replacedObjectId: string | null
  /** SHA-256 of the plain file, hex. */
  readonly sha256: string
  /** Only where it was to be deleted and was not: why. */
  readonly kept?: string
}
/** The answer to a store that does not wait. */
export interface QueuedResult {
  readonly jobId: string
}
export interface RetrieveResult {
  readonly objectId: string
  /** Of the whole file. */
  readonly sizeBytes: number
  readonly attachmentBytes: number
  /** Only of a range: how many bytes were written; fewer than asked for where the file ends before, 0 beyond it. */
  readonly rangeBytes?: number
}
/** From the record; the object is read once, when its checksum is first asked for. */
export interface CheckResult {
  readonly found: boolean
  readonly objectId: string | null
  readonly name: string | null
  readonly sizeBytes: number
  /** BLAKE2b-128 of the plain file, 32 hex digits, as zstor prints; '' when nothing was found. */
  readonly checksum: string
  readonly shardsConfirmed: number
  readonly shardCount: number
  /** Only of a deep check of what was found. */
  readonly deep?: DeepCheck
}
/** What reading every shard of an object showed. */
export interface DeepCheck {
  /** All shards are good. */
  readonly ok: boolean
  /** With at least `dataShards` of them it can be read. */
  readonly goodShardCount: number
  readonly dataShards: number
  readonly shards: readonly {
    readonly index: number
    readonly backend: string
    /** `bad`: a piece is wrong or missing; `owed`: never written, or lost as the record knows; `no-backend`: the config has
     *  it no more; `unavailable`: it does not answer. */
    readonly state: 'good' | 'bad' | 'owed' | 'no-backend' | 'unavailable'
    readonly goodPieceCount: number
    readonly wrongPieceCount: number
    readonly missingPieceCount: number
  }[]
}
export interface DeleteResult {
  readonly found: boolean
  readonly objectId: string | null
  /** Locations that were away: their pieces go when they are back. */
  readonly owedBackends: readonly string[]
}

/** Stores that nobody waits for. */
export interface JobsStatus {
  readonly waitingCount: number
  readonly runningCount: number
  /** Of those: tried and failed. */
  readonly failingCount: number
  /** When the oldest was taken, ms since 1970; null: there is none. */
  readonly oldestMs: number | null
  /** Of the newest that failed; '' when none did. */
  readonly lastError: string
  /** Files of the journal that hold no job any more. */
  readonly damagedFiles: readonly string[]
}
/** The first thousand. */
export interface JobsResult extends JobsStatus {
  readonly jobs: readonly {
    readonly jobId: string
    readonly file: string
    readonly name: string | null
    readonly cause: 'queued' | 'failed'
    readonly queuedMs: number
    readonly attemptCount: number
    readonly lastError: string
    readonly state: 'waiting' | 'running'
    /** Until the next attempt; null while it runs. */
    readonly nextInMs: number | null
  }[]
}
export interface DropJobResult {
  readonly dropped: boolean
}

export interface RebuildResult {
  /** Objects that were looked at. */
  readonly objectCount: number
  readonly verifiedShardCount: number
  readonly badShardCount: number
  /** Shards written: bad, owed, or moved from a backend that is gone or drains. */
  readonly rebuiltShardCount: number
  /** Objects that are not whole yet; the daemon goes on with them. */
  readonly pendingCount: number
  /** The first of them. */
  readonly pending: readonly { readonly objectId: string; readonly reason: string }[]
}

/** What repair and scrub do; counts since the daemon started. */
export interface RepairStatus {
  /** All records were looked through since the start: before that more may be pending than is told. */
  readonly surveyed: boolean
  readonly pendingCount: number
  /** Done since nothing was pending last. */
  readonly doneCount: number
  readonly runningCount: number
  /** Of the pending objects: how many more locations the thinnest survives. */
  readonly thinnestMargin: number | null
  /** Why objects are pending, the most frequent first. */
  readonly reasons: readonly { readonly reason: string; readonly count: number }[]
  /** At the pace of the repairs so far, if nothing hinders them; null: none was made yet, or all that are pending are hindered. */
  readonly etaMs: number | null
  readonly rebuiltShardCount: number
  /** Attempts that failed. */
  readonly failedCount: number
  /** Wrong or missing pieces that readers met. */
  readonly reportedCount: number
  /** Read and written by repair and scrub. */
  readonly movedBytes: number
  /** Time that coding and checking took. */
  readonly cpuMs: number
  /** ms since 1970; `doneRatio` 0 to 1, of this round. Null until it is known. */
  readonly scrub: {
    readonly startedMs: number
    readonly endsMs: number
    readonly doneRatio: number
    readonly verifiedShardCount: number
    readonly badShardCount: number
  } | null
  /** Pieces that no record names: removed since the start; too young, or not ours to remove, at the last look. */
  readonly orphans: { readonly removedCount: number; readonly youngCount: number; readonly unknownCount: number }
}

export interface BackendStatus {
  readonly name: string
  readonly address: string
  readonly namespace: string
  readonly use: 'meta' | 'data'
  /** 1-based group of a data backend, 0 for metadata. */
  readonly group: number
  /** Its name in the config, else its number; '' for metadata. */
  readonly groupName: string
  /** By its checks, with hysteresis: `down` is what answers, too, but not for long enough yet. */
  readonly health: 'up' | 'down' | 'unknown'
  /** Since when, ms since 1970. */
  readonly sinceMs: number
  /** Of one that is down and answers: how much longer it must; else null. */
  readonly upInMs: number | null
  /** How often it was called down since the start. */
  readonly fallCount: number
  /** It has been down for `rebuild_after`: its shards are written elsewhere, where the promise allows it. */
  readonly givenUp: boolean
  /** The last check was answered. */
  readonly reachable: boolean
  /** How long answers to the last checks took, median; null: there was none. */
  readonly latencyMs: number | null
  /** It takes no new shards: it told of too little room, or refused some for want of it. */
  readonly full: boolean
  /** Failed requests since the start, and the last of them: '' and null when there was none. */
  readonly errorCount: number
  readonly lastError: string
  readonly lastErrorMs: number | null
  /** Values it holds. */
  readonly entryCount: number
  /** null: it did not say. */
  readonly usedBytes: number | null
  readonly freeBytes: number | null
  /** What an answered sync means there. */
  readonly durability: 'disk' | 'memory' | 'unknown'
  /** What the TLS handshake agreed on, for example TLSv1.3 and X25519MLKEM768; null without TLS. */
  readonly tls: { readonly version: string; readonly group: string } | null
  /** How passwords went there: none, as answers to 0-db's challenges, or as they are. */
  readonly passwordsSent: 'none' | 'hashed' | 'clear'
  readonly note: string
}
export interface StatusResult {
  readonly daemon: boolean
  readonly k: number
  readonly n: number
  readonly metaK: number
  readonly metaN: number
  readonly metaWriteQuorum: number
  /** Records listed; null when no metadata backend could list. */
  readonly objectCount: number | null
  /** Objects on fewer than n locations, as far as records were looked through; null without a daemon. */
  readonly thinObjectCount: number | null
  /** Data locations that may still be lost before an object of full width is, by what answers and is not empty; negative:
   *  some cannot be read now. */
  readonly marginLocations: number
  /** Can a new object be stored now, and if not, why. */
  readonly writable: boolean
  readonly reason: string
  /** Metadata backends that do not hold all records yet: they count for nobody. */
  readonly fillingBackends: readonly string[]
  /** Metadata backends that may lack records, or showed damaged ones; all of them until they were compared after the start.
   *  They count, and are being caught up. */
  readonly laggingBackends: readonly string[]
  /** When another daemon was last seen at work on this store, by mistake; ms since 1970. Null: not since the start. */
  readonly otherDaemonSeenMs: number | null
  /** Root keys so far; above 1 after deep rotations. */
  readonly rootKeyCount: number
  /** Records that a deep rotation still has to seal anew; null: none. */
  readonly rewrapping: { readonly doneCount: number; readonly totalCount: number } | null
  readonly storesRunning: number
  readonly retrievesRunning: number
  /** Null without a daemon. */
  readonly jobs: JobsStatus | null
  /** Null without a daemon, and while the store is not open. */
  readonly repair: RepairStatus | null
  readonly backends: readonly BackendStatus[]
}
/** What was found on the data backends, and became of it. */
export interface RecoverResult {
  readonly valueCount: number
  /** Objects that have a record. */
  readonly presentCount: number
  readonly recoveredCount: number
  readonly lostCount: number
  /** The first thousand, and why: left over from uploads and deletions that were broken off, or really lost. */
  readonly lost: readonly { readonly objectId: string; readonly reason: string }[]
  /** Data backends that could not be read to the end: again when they are back. */
  readonly unreadBackends: readonly string[]
}
/** Sent while a recover runs: first all values of the data backends are read, then objects rebuilt. */
export interface RecoverProgress {
  readonly phase: 'reading' | 'rebuilding'
  /** Values, or objects. What backends say to hold when the reading begins is the total of that. */
  readonly doneCount: number
  readonly totalCount: number
  readonly recoveredCount: number
  /** Of this phase, at its pace so far; null: not known yet. */
  readonly etaMs: number | null
}
/** How many root keys there are now. */
export interface RotateKeyResult {
  readonly rootKeyCount: number
}
/** What a reload of the config did. */
export interface ReloadResult {
  /** A sentence per change. */
  readonly changed: readonly string[]
  /** Keys that changed in the file and take effect at the next start. */
  readonly needsRestart: readonly string[]
}
/** What the config promises, and what fits. */
export interface PlanResult {
  readonly k: number
  readonly n: number
  /** Data backends that must confirm an object's shards. */
  readonly writeQuorum: number
  /** Bytes stored for each byte. */
  readonly overhead: number
  /** Shards that the groups get of an object, the fullest first. */
  readonly shardCounts: readonly number[]
  /** So many whole groups and with them so many backends of the others, whichever, may be lost. */
  readonly losses: readonly { readonly groupCount: number; readonly backendCount: number }[]
  /** `freeBytes` null: one of its backends does not say. */
  readonly groups: readonly {
    readonly name: string
    readonly backendCount: number
    readonly shardsMax: number
    readonly freeBytes: number | null
  }[]
  readonly tightestGroup: string
  /** Plain bytes that fit in, about; null: `unknownBackends` do not say. */
  readonly capacityBytes: number | null
  readonly unknownBackends: readonly string[]
  readonly metaK: number
  readonly metaN: number
  readonly metaWriteQuorum: number
}
export interface TestResult {
  readonly ok: boolean
  readonly lines: readonly { readonly subject: string; readonly ok: boolean; readonly text: string }[]
}

/** Sent while a store or retrieve runs. */
export interface TransferProgress {
  readonly doneBytes: number
  readonly totalBytes: number
}

/** `error.code` of a failed request is one of stor's reasons (apps/stor/src/errors.ts) or one of these. */
export const StorErrorCode = {
  /** The request itself is wrong. */
  usage: 'usage',
  /** No such object; the message holds zstor's `entity not found`, which scripts look for. */
  notFound: 'not-found',
  aborted: 'aborted',
  internal: 'internal',
} as const
