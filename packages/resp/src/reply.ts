/** One answer of the protocol, as values: string = simple string, Buffer = bulk, number = integer, null = null bulk. */
export type Reply = Buffer | string | number | null | readonly ReplyOrError[]

/** An array may hold errors beside values: 0-db answers MGET so. */
export type ReplyOrError = Reply | RespError

export type MaybePromise<T> = T | Promise<T>

/** What a command returns that answers later, by a push, or never: its place in the order of replies is given up. */
export const noReply: unique symbol = Symbol('no reply')

/** An error reply: thrown by a server's command, seen by a client as a rejection. `message` is the text without `-` and line end. */
export class RespError extends Error {
  override name: string = 'RespError'
}
