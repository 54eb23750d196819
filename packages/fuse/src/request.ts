import { InHeader, uniqueResend } from './abi.ts'
import { FuseError } from './errno.ts'
import type { RequestContext } from './filesystem.ts'
import { type OpcodeName, opcodeNameOf, opcodes } from './opcodes.ts'

/** One request, taken apart; it is also the context that the filesystem gets. All but a WRITE is copied off the
 *  channel's buffer, so that names and values hold until the filesystem has settled. */
export class Request implements RequestContext {
  /** null: an opcode we do not know. */
  readonly name: OpcodeName | null
  readonly opcode: number
  /** As the reply must repeat it: the mark of a request that was sent again included. */
  readonly unique: bigint
  readonly resent: boolean
  readonly nodeId: number
  readonly uid: number
  readonly gid: number
  readonly pid: number
  umask = 0
  readonly #bytes: Buffer
  readonly #endBytes: number
  #abort: AbortController | null = null
  #interrupted = false

  /** @throws RangeError when it is shorter than its header says */
  constructor(received: Buffer) {
    const header = InHeader.decode(received)
    // Extensions (security context, supplementary groups) come last and are not negotiated: cut off whatever is there.
    this.#endBytes = header.lenBytes - 8 * header.extensionWords
    if (header.lenBytes !== received.length) {
      throw new RangeError(`a request of ${header.lenBytes} bytes came as ${received.length}`)
    }
    this.opcode = header.opcode
    this.name = opcodeNameOf(header.opcode)
    this.resent = (header.unique & uniqueResend) !== 0n
    this.unique = header.unique
    this.nodeId = header.nodeId
    this.uid = header.uid
    this.gid = header.gid
    this.pid = header.pid
    this.#bytes = this.name === 'WRITE' ? received : Buffer.from(received)
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController()
      if (this.#interrupted) this.#abort.abort(new FuseError('EINTR'))
    }
    return this.#abort.signal
  }

  /** The reason is a FuseError, so whoever rejects with it answers EINTR. */
  interrupt(): void {
    this.#interrupted = true
    this.#abort?.abort(new FuseError('EINTR'))
  }

  /** Header and all; borrowed when it is a WRITE. */
  get received(): Buffer {
    return this.#bytes
  }

  /** What follows the header. */
  get body(): Buffer {
    return this.#bytes.subarray(InHeader.sizeBytes, this.#endBytes)
  }
}

/** The names behind the in-struct, and what is left after them. */
export interface Tail {
  readonly names: readonly Buffer[]
  readonly data: Buffer
}

/** A name of a directory; a symlink's target, the second of its names, may have 4,095 bytes. */
const nameBytesMax = 255

/** @throws FuseError EINVAL when a name is missing or empty, ENAMETOOLONG beyond 255 bytes */
export function splitTail(name: OpcodeName, body: Buffer): Tail {
  const { in: inLayout, nameCount } = opcodes[name]
  let at = inLayout === null ? 0 : inLayout.sizeBytes
  const names: Buffer[] = []
  for (let i = 0; i < nameCount; i++) {
    const end = body.indexOf(0, at)
    if (end <= at) throw new FuseError('EINVAL', `${name} without its name`)
    if (end - at > nameBytesMax && !(name === 'SYMLINK' && i === 1)) throw new FuseError('ENAMETOOLONG')
    names.push(body.subarray(at, end))
    at = end + 1
  }
  return { names, data: body.subarray(at) }
}
