/** What the world can do to a daemon, as one sentence that says what to do about it.
 *  Exit code 1: the machine says no. 2: the request is wrong. */
export class ExpectedFailure extends Error {
  readonly exitCode: 1 | 2

  constructor(exitCode: 1 | 2, message: string, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** How an error ends a program: a sentence for people and an exit code; null for what only a bug explains. */
export function expectedEnd(error: unknown): { readonly exitCode: 1 | 2; readonly sentence: string } | null {
  if (!(error instanceof Error)) return null
  if ('exitCode' in error && (error.exitCode === 1 || error.exitCode === 2)) {
    return { exitCode: error.exitCode, sentence: error.message }
  }
  // System calls: "listen EADDRINUSE: address already in use /run/x.sock" names the call, the reason and the thing.
  const isSystemError = 'syscall' in error && 'code' in error && typeof error.code === 'string'
  return isSystemError ? { exitCode: 1, sentence: error.message } : null
}
