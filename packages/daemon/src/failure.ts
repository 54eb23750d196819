/** 1: the machine says no. 2: the request is wrong. 3: it left its work to the next process, as it was told to. */
export type ExitCode = 1 | 2 | 3
export const leftToNext = 3

/** What the world can do to a daemon, as one sentence that says what to do about it. */
export class ExpectedFailure extends Error {
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** How an error ends a program: a sentence for people and an exit code; null for what only a bug explains. */
export function expectedEnd(error: unknown): { readonly exitCode: ExitCode; readonly sentence: string } | null {
  if (!(error instanceof Error)) return null
  if ('exitCode' in error && isExitCode(error.exitCode)) return { exitCode: error.exitCode, sentence: error.message }
  // System calls: "listen EADDRINUSE: address already in use /run/x.sock" names the call, the reason and the thing.
  const isSystemError = 'syscall' in error && 'code' in error && typeof error.code === 'string'
  return isSystemError ? { exitCode: 1, sentence: error.message } : null
}

function isExitCode(value: unknown): value is ExitCode {
  return value === 1 || value === 2 || value === leftToNext
}
