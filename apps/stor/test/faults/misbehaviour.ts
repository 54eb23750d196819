import { randomBytes } from 'node:crypto'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { type ReplyOrError, RespError } from '@qsfs/resp/reply'
import type { Behaviour } from './faulty-proxy.ts'

/** Each call makes one of its own: some remember. Commands that it does not care for are done as they should be. */
export type Misbehaviour = () => Behaviour

const on =
  (wanted: string, behaviour: Behaviour): Misbehaviour =>
  () =>
  (command, next) =>
    command.name === wanted ? behaviour(command, next) : next()

/** Changes the values that GET answers. */
const answering = (change: (value: Buffer, key: string) => ReplyOrError): Misbehaviour =>
  on('GET', async ({ args: [key] }, next) => {
    const value = await next()
    return Buffer.isBuffer(value) ? change(value, key!.toString('hex')) : value
  })

let lastId = 2n ** 40n

/** Data: answers ids and keeps nothing. */
export const dropsPieces = on('SET', async () => {
  const id = Buffer.alloc(8)
  id.writeBigUInt64LE(lastId++)
  return id
})

/** Keeps other bytes than it was given. */
export const keepsGarbage = on('SET', ({ args: [key, value] }, next) => next([key!, randomBytes(value!.length)]))

/** Metadata: says yes and keeps what it had. */
export const dropsRecords = on('SET', async ({ args: [key] }) => key!)

/** Data: the same id for every piece. */
export const repeatsIds: Misbehaviour = () => {
  let first: ReplyOrError | null = null
  return async ({ name }, next) => {
    if (name !== 'SET') return next()
    first ??= await next()
    return first
  }
}

/** After a piece there is no room, and it says so when it is asked. */
export const fillsUp: Misbehaviour = () => {
  let left = 1
  return async ({ name }, next) => {
    if (name === 'SET' && left-- <= 0) return new RespError(ErrorText.namespaceFull)
    const reply = await next()
    if (name !== 'NSINFO' || left >= 0) return reply
    return Buffer.from(String(reply).replace(/(disk_freespace_bytes): \d+/g, '$1: 0'))
  }
}

export const flaps: Misbehaviour = () => {
  let count = 0
  return async (_, next) => (++count % 10 < 4 ? { quirk: 'cut' } : next())
}

export const hangsOnWrite = on('SET', async () => ({ quirk: 'hang' }))
/** Connections are taken, and nothing is ever said. */
export const hangs: Misbehaviour = () => async () => ({ quirk: 'hang' })
export const hangsInReply = on('GET', async (_, next) => ({ quirk: 'half', of: await next() }))
export const refusesAll: Misbehaviour = () => async () => new RespError('Internal error')
export const cutsValues = answering(value => value.subarray(0, -7))
export const deniesAll = answering(() => null)
export const answersNumbers = answering(() => 7)

/** What another key holds. */
export const mixesUp: Misbehaviour = () => {
  const others: { readonly key: string; readonly value: Buffer }[] = []
  return answering((value, key) => {
    if (!others.some(other => other.key === key)) others.push({ key, value })
    return others.find(other => other.key !== key)?.value ?? value
  })()
}

/** What a key held when it was first asked for. */
export const remembersTheOld: Misbehaviour = () => {
  const first = new Map<string, Buffer>()
  return answering((value, key) => first.getOrInsert(key, value))()
}
