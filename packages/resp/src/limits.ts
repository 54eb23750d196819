import { defaultLimits, type ParserLimits } from './parser.ts'

/** Why we closed a connection whose client did nothing malformed; the connection's 'error'. */
export class ClientDropped extends Error {
  override readonly name = 'ClientDropped'
}

export interface ConnectionLimits extends ParserLimits {
  /** Commands begun and not ended. */
  readonly runningMax: number
  /** What the replies of those may take. One reply may exceed it. */
  readonly runningBytesMax: number
  /** Replies not yet taken by the kernel; beyond it nothing more is executed. One reply may exceed it. Clients that send a whole
   *  pipeline before they read anything (redis-benchmark, hiredis) need its replies to fit, or both sides wait. */
  readonly outputBytesMax: number
  /** The same for replies that the client did not ask for one by one (WAIT, MIRROR): beyond it the connection is dropped. */
  readonly pushBytesMax: number
  /** A connection that has executed for so long at a stretch lets all others run before it goes on, */
  readonly sliceMs: number
  /** and so does one that so many bytes were read of, or answered at a stretch. */
  readonly sliceBytes: number
  /** A client that takes no byte of waiting output for so long is dropped. */
  readonly unreadMs: number
  /** And so is one that sends nothing for so long, while nothing runs for it; 0: never. */
  readonly idleMs: number
  /** One buffer of this size is read into by all connections of a server; 0: each read gets its own memory, at most 64 KiB. */
  readonly receiveBytes: number
  /** After a malformed request: how much more is read and dropped, so that the client sees the answer, not a reset. */
  readonly lingerBytesMax: number
  readonly lingerMs: number
}

export const defaultConnectionLimits: ConnectionLimits = {
  ...defaultLimits,
  runningMax: 16,
  runningBytesMax: 16 * 1024 * 1024,
  outputBytesMax: 16 * 1024 * 1024,
  pushBytesMax: 32 * 1024 * 1024,
  sliceMs: 1,
  sliceBytes: 1024 * 1024,
  unreadMs: 60_000,
  idleMs: 0,
  receiveBytes: 256 * 1024,
  lingerBytesMax: 32 * 1024 * 1024,
  lingerMs: 2000,
}
