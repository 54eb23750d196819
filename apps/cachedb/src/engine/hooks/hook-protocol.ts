/** Between cachedb and its hook-runner: one JSON object a line, orders to its stdin, reports from its stdout. */
export type HookOrder =
  | { readonly type: 'run'; readonly request: HookRequest }
  /** What to run when cachedb is gone without a `bye`. */
  | { readonly type: 'on-crash'; readonly request: HookRequest }
  /** cachedb ends as it should: hooks that may outlive it go on, the others are killed. */
  | { readonly type: 'bye' }

export interface HookRequest {
  readonly id: number
  readonly path: string
  /** argv behind the path: event, instance id, arguments. */
  readonly args: readonly string[]
  /** Added to the environment. */
  readonly env: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Whether it goes on when cachedb has ended. */
  readonly outlives: boolean
}

/** ok: exit 0. failed: another exit code. killed: a signal ended it. timeout: it was killed for taking too long.
 *  not_run: it could not be started. */
export type HookResult = 'ok' | 'failed' | 'killed' | 'timeout' | 'not_run'

export interface HookEnd {
  readonly result: HookResult
  /** null when there is none. */
  readonly exitCode: number | null
  /** Why it is not `ok`. */
  readonly reason: string
  /** Of the line `stored <object id>`, when it printed one. */
  readonly objectId: string | null
}

export type HookReport =
  | { readonly type: 'started'; readonly id: number; readonly pid: number }
  | { readonly type: 'ended'; readonly id: number; readonly end: HookEnd }
  /** After `bye`: what had to be killed is killed. */
  | { readonly type: 'parted' }
