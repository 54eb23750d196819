import { FuseError } from '@qsfs/fuse/errno'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { RespError } from '@qsfs/resp/client'

/** The server's own words, as the errno a program gets: the one crossing between the two. */
const errnoOfText = {
  [ErrorText.fullWait]: 'ENOSPC',
  [ErrorText.fullSpace]: 'ENOSPC',
  [ErrorText.namespaceFull]: 'ENOSPC',
  [ErrorText.ownerLost]: 'EROFS',
  [ErrorText.namespaceReadOnly]: 'EROFS',
  [ErrorText.namespaceLocked]: 'EROFS',
  [ErrorText.namespaceFrozen]: 'EROFS',
} as const

/** @param noun what could not be done, for the log */
export function toFuseError(error: unknown, noun: string): FuseError {
  if (error instanceof FuseError) return error
  const text = error instanceof Error ? error.message : String(error)
  return new FuseError(errnoOf(text), `${noun}: ${text}`, { cause: error })
}

/** Reads fail with EIO, whatever it is that keeps the server from answering. */
export function asReadFailure(error: FuseError): FuseError {
  return error.code === 'ENOSPC' ? new FuseError('EIO', error.message, { cause: error }) : error
}

function errnoOf(text: string): 'ENOSPC' | 'EROFS' | 'EIO' {
  if (text.startsWith(ErrorText.readOnlyPrefix)) return 'EROFS'
  return (errnoOfText as Record<string, 'ENOSPC' | 'EROFS'>)[text] ?? 'EIO'
}

export function hasText(error: unknown, text: string): boolean {
  return error instanceof RespError && error.message === text
}

/** The segment that has to be warmed first; null: the error says something else. */
export function coldSegmentOf(error: unknown): string | null {
  if (!(error instanceof RespError) || !error.message.startsWith(ErrorText.coldPrefix)) return null
  return error.message.slice(ErrorText.coldPrefix.length)
}

/** The read failed for a reason that is gone. */
export class ReadAgain extends Error {}
