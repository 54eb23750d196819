/** Hooks: a configured executable is run with argv [event, instance id, …]; names and argv are 0-db's. */
export const HookEvent = {
  namespacesInit: 'namespaces-init',
  ready: 'ready',
  close: 'close',
  crash: 'crash',
  jumpIndex: 'jump-index',
  jumpData: 'jump-data',
  missingData: 'missing-data',
  namespaceCreated: 'namespace-created',
  namespaceUpdated: 'namespace-updated',
  namespaceDeleted: 'namespace-deleted',
  namespaceReloaded: 'namespace-reloaded',
  namespaceClosing: 'namespace-closing',
  /** Ours: a dead segment left the disk; argv is its path and its object id. */
  segmentDeleted: 'segment-deleted',
  /** Ours: every part of a recovery point is stored. */
  recoveryPoint: 'recovery-point',
} as const
export type HookEvent = (typeof HookEvent)[keyof typeof HookEvent]

/** Environment that cachedb adds for its hooks. */
export const HookEnvironment = {
  /** Path of stor's control socket. */
  storSocket: 'QSFS_STOR_SOCKET',
  /** Object id of the segment asked for (missing-data), so that nothing is looked up by name. */
  objectId: 'QSFS_OBJECT_ID',
  /** Path of the segment's hint file, part of the object (jump-data, missing-data). */
  hintPath: 'QSFS_HINT_PATH',
} as const

/** The only line by which a store hook makes a segment `stored`: `stored <object id>` on stdout, the id 32 hex digits. */
export const storedLine = /^stored ([0-9a-f]{32})$/m
