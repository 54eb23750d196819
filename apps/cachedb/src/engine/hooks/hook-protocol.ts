/** Between cachedb and its hook-runner: one JSON object a line, requests to its stdin, reports from its stdout. */
export interface HookRequest {
  readonly id: number
  readonly path: string
  /** argv behind the path: event, instance id, arguments. */
  readonly args: readonly string[]
  /** Added to the environment. */
  readonly env: Readonly<Record<string, string>>
  readonly timeoutMs: number
}

export type HookReport =
  | { readonly type: 'ready' }
  | { readonly type: 'started'; readonly id: number; readonly pid: number }
  | {
      readonly type: 'ended'
      readonly id: number
      /** null when a signal ended it or it could not be run. */
      readonly exitCode: number | null
      /** Why there is no exit code. */
      readonly failure: string | null
      /** The last bytes of its stdout, and the last line of its stderr. */
      readonly stdout: string
      readonly lastError: string
    }
