import { createHash } from 'node:crypto'
import type { NamespacePosition } from '@qsfs/protocol/cachedb-commands'
import { type Reply, type ReplyOrError, RespError } from '../reply.ts'

export interface IntroductionOptions {
  readonly adminPassword?: string
  readonly namespace?: string
  readonly namespacePassword?: string
  /** Sent as `OWNER token namespace…`, the last step before the connection exists for its user. */
  readonly owner?: { readonly token: string; readonly namespaces: readonly string[] }
}

/** How passwords were sent: none; as the answer to a challenge, from which only guessing finds them; as they are, to a
 *  server that knows no challenge. */
export type PasswordsSent = 'none' | 'hashed' | 'clear'

export interface Introduction {
  /** What OWNER answered, one per namespace in the order asked for. */
  readonly positions: readonly NamespacePosition[]
  readonly passwordsSent: PasswordsSent
}

type Call = (...args: readonly string[]) => Promise<Reply>

/** The first commands of a connection: AUTH, SELECT, OWNER.
 *  @throws RespError when the server refuses one */
export async function introduce(
  call: Call,
  { adminPassword, namespace, namespacePassword, owner }: IntroductionOptions,
): Promise<Introduction> {
  const asAdmin = adminPassword === undefined ? 'none' : await authenticate(call, adminPassword)
  const asUser = namespace === undefined ? 'none' : await selectNamespace(call, namespace, namespacePassword)
  const positions = owner ? parsePositions(await call('OWNER', owner.token, ...owner.namespaces)) : []
  return { positions, passwordsSent: weaker(asAdmin, asUser) }
}

/** @throws RespError */
async function authenticate(call: Call, password: string): Promise<PasswordsSent> {
  const answer = await answerTo(call, password)
  await (answer === null ? call('AUTH', password) : call('AUTH', 'SECURE', answer))
  return answer === null ? 'clear' : 'hashed'
}

/** SELECT, with the password if there is one.
 *  @throws RespError */
export async function selectNamespace(call: Call, namespace: string, password?: string): Promise<PasswordsSent> {
  if (password === undefined) {
    await call('SELECT', namespace)
    return 'none'
  }
  const answer = await answerTo(call, password)
  await (answer === null ? call('SELECT', namespace, password) : call('SELECT', namespace, 'SECURE', answer))
  return answer === null ? 'clear' : 'hashed'
}

/** The one that tells a listener more. */
export function weaker(a: PasswordsSent, b: PasswordsSent): PasswordsSent {
  if (a === 'clear' || b === 'clear') return 'clear'
  return a === 'hashed' ? a : b
}

/** Asks for a challenge, each time anew: AUTH uses it up.
 *  @returns 0-db's answer, SHA-1 of `challenge:password` in hex; null when the server knows no challenges
 *  @throws RespError when the challenge is none: the password is told in clear only to who cannot do better */
async function answerTo(call: Call, password: string): Promise<string | null> {
  let reply: Reply
  try {
    reply = await call('AUTH', 'SECURE', 'CHALLENGE')
  } catch (error) {
    if (error instanceof RespError) return null
    throw error
  }
  const challenge = String(reply)
  if (!/^[0-9a-f]{16}$/.test(challenge)) throw new RespError('a challenge has 16 hex digits')
  return createHash('sha1').update(`${challenge}:${password}`).digest('hex')
}

/** Reads the reply of OWNER or FSYNC.
 *  @throws TypeError when it has another shape */
export function parsePositions(reply: Reply): readonly NamespacePosition[] {
  if (!Array.isArray(reply)) throw new TypeError('positions are an array')
  return reply.map((position: ReplyOrError) => {
    if (!Array.isArray(position) || position.length !== 5) throw new TypeError('a position has five fields')
    const [instance, nextId, appended, synced, incarnation] = position
    return {
      instance: String(instance),
      nextId: Number(nextId),
      appended: Number(appended),
      synced: Number(synced),
      incarnation: String(incarnation),
    }
  })
}
