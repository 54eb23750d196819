import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { RespError } from '@qsfs/resp/reply'

/** An error with its face on the wire: the message is what follows the `-` of the RESP error, 0-db's own words where it has them. */
export class CommandError extends RespError {
  constructor(text: string, cause?: unknown) {
    super(text, { cause })
    this.name = new.target.name
  }
}

/** The request itself is refused: its shape, its rights, or a setting. */
export class Refused extends CommandError {}

/** The connection's namespace was dropped; the connection is closed behind this. */
export class NamespaceDetached extends CommandError {
  constructor() {
    super('Your active namespace is not available anymore (probably removed).')
  }
}

/** A newer OWNER took the namespace. */
export class OwnerLost extends CommandError {
  constructor() {
    super(ErrorText.ownerLost)
  }
}

export class KeyNotFound extends CommandError {
  constructor() {
    super(ErrorText.keyNotFound)
  }
}

/** 0-db's answers to a SET or DEL that the key, the mode or a setting forbids. */
export class KeyRefused extends CommandError {}

export class NamespaceFull extends CommandError {
  constructor() {
    super(ErrorText.namespaceFull)
  }
}

/** No room in the cache or on the disk. `wait`: stores make progress, room will come. */
export class CacheFull extends CommandError {
  constructor(kind: 'wait' | 'space', cause?: unknown) {
    super(kind === 'wait' ? ErrorText.fullWait : ErrorText.fullSpace, cause)
  }
}

/** The value's segment is absent, and the caller asked not to wait. */
export class ColdSegment extends CommandError {
  readonly segmentId: number
  constructor(segmentId: number) {
    super(`${ErrorText.coldPrefix}${segmentId}`)
    this.segmentId = segmentId
  }
}

/** The bytes exist nowhere that answers now, or fail their check. */
export class SegmentUnavailable extends CommandError {
  readonly reason: string
  constructor(reason: string, cause?: unknown) {
    super(`${ErrorText.ioErrorPrefix}${reason}`, cause)
    this.reason = reason
  }
}

/** A failed sync made the namespace read-only. */
export class NamespaceReadOnly extends CommandError {
  constructor(reason: string, cause?: unknown) {
    super(`${ErrorText.readOnlyPrefix}${reason}`, cause)
  }
}
