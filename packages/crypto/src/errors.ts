/** Why a key or what it seals could not be used.
 *  - wrong-key: the bytes are whole and were sealed under another key
 *  - damaged: the bytes are not what was written
 *  - mistyped: a master secret whose check digits do not fit
 *  - not-a-key: the file is something else
 *  - exposed: others may read the file */
export type KeyErrorReason = 'wrong-key' | 'damaged' | 'mistyped' | 'not-a-key' | 'exposed'

export class KeyError extends Error {
  override readonly name = 'KeyError'
  readonly reason: KeyErrorReason

  constructor(reason: KeyErrorReason, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}
