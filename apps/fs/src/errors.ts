/** A record that says something no version of this filesystem writes. Answered EIO, never taken for absence. */
export class FormatError extends Error {
  constructor(record: string, reason: string) {
    super(`record of ${record} cannot be right: ${reason}`)
    this.name = 'FormatError'
  }
}
