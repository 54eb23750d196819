/** Why stor could not do what it was asked; the control socket sends it as the error's `code`.
 *  - missing: the backend answered that it does not hold this value
 *  - unavailable: no answer (lost connection, timeout, refused); asking again later may help
 *  - full: the backend has no room
 *  - damaged: bytes are there and fail their check
 *  - wrong-key: the bytes are whole, but belong to another master secret
 *  - too-few-shards: fewer than k good pieces of a frame, or fewer than W backends for a write
 *  - not-found: no such object
 *  - file: the local file cannot be read or published
 *  - refused: the request contradicts the state of the store */
export type StorErrorReason =
  | 'missing'
  | 'unavailable'
  | 'full'
  | 'damaged'
  | 'wrong-key'
  | 'too-few-shards'
  | 'not-found'
  | 'file'
  | 'refused'

const RETRYABLE: ReadonlySet<StorErrorReason> = new Set(['unavailable', 'full', 'too-few-shards'])

/** The one error class of stor; callers match on `reason`, never on the message. */
export class StorError extends Error {
  override readonly name = 'StorError'
  readonly reason: StorErrorReason

  constructor(reason: StorErrorReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }

  /** What the control socket tells its asker. */
  get code(): StorErrorReason {
    return this.reason
  }

  /** Whether the same request may succeed later without anything being changed. */
  get retryable(): boolean {
    return RETRYABLE.has(this.reason)
  }
}
