import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/client'
import { type PasswordsSent, selectNamespace, weaker } from '@qsfs/resp/connect/introduction'
import { RespError } from '@qsfs/resp/reply'
import { StorError } from '../../errors.ts'

export interface NamespaceOptions {
  readonly namespace: string
  readonly password?: string
  readonly mode: 'sequential' | 'user'
  /** A namespace that is not there is made; else it is an error. */
  readonly create: boolean
}

type Call = (...args: readonly string[]) => Promise<Reply>

/** Makes the namespace if it may, checks its mode, selects it.
 *  @param name of the backend, for messages
 *  @throws StorError 'refused' with what to do about it, RespError, ConnectionLost */
export async function enterNamespace(call: Call, name: string, options: NamespaceOptions): Promise<PasswordsSent> {
  const { namespace, mode, password } = options
  let info = await namespaceInfo(call, name, namespace)
  let created: PasswordsSent = 'none'
  if (info === null && options.create) {
    created = await createNamespace(call, name, options)
    info = await namespaceInfo(call, name, namespace)
  }
  if (info === null) throw refused(`${name} has no namespace ${namespace}: create it, or set create_namespaces`)
  const wanted = mode === 'user' ? 'userkey' : 'sequential'
  if (info.get('mode') !== wanted) {
    throw refused(
      `${name}: namespace ${namespace} is in mode ${info.get('mode')}, not ${wanted}: name another one, in which nothing is stored yet`,
    )
  }
  const selected = await explained(selectNamespace(call, namespace, password), {
    'Access denied': `${name} refuses the password of namespace ${namespace}: correct it`,
    'Namespace protected and private': `${name}: namespace ${namespace} is private: give its password`,
  })
  return weaker(created, selected)
}

async function createNamespace(call: Call, name: string, options: NamespaceOptions): Promise<PasswordsSent> {
  const { namespace, password } = options
  const advice = 'create it there, or give admin_password_file'
  // Another connection of ours may do the same at the same time.
  await tolerating('This namespace is not available', () =>
    explained(call('NSNEW', namespace), {
      'Permission denied': `${name} has no namespace ${namespace}, and does not let us create it: ${advice}`,
    }),
  )
  // A server that knows one mode only, or has data there already: its mode is checked afterwards.
  await tolerating('mode', () => call('NSSET', namespace, 'mode', options.mode === 'user' ? 'user' : 'seq'))
  if (password === undefined) return 'none'
  await call('NSSET', namespace, 'password', password)
  await call('NSSET', namespace, 'public', '0')
  return 'clear'
}

/** NSINFO's lines, null when there is no such namespace. */
async function namespaceInfo(call: Call, name: string, namespace: string): Promise<Map<string, string> | null> {
  let reply: Reply
  try {
    reply = await call('NSINFO', namespace)
  } catch (error) {
    if (!(error instanceof RespError)) throw error
    if (error.message === ErrorText.namespaceNotFound) return null
    throw refused(`${name} answers NSINFO with "${error.message}": is it a 0-db server?`, error)
  }
  return parseInfo(reply)
}

/** `key: value` lines. Unknown ones do no harm, missing ones are for the caller. */
export function parseInfo(reply: Reply): Map<string, string> {
  const text = Buffer.isBuffer(reply) || typeof reply === 'string' ? reply.toString() : ''
  return new Map(
    text.split('\n').flatMap(line => {
      const at = line.indexOf(':')
      return at < 1 ? [] : [[line.slice(0, at), line.slice(at + 1).trim()] as const]
    }),
  )
}

/** Passes an error over whose text contains these words. */
export async function tolerating(words: string, action: () => Promise<unknown>): Promise<void> {
  try {
    await action()
  } catch (error) {
    if (!(error instanceof RespError && error.message.includes(words))) throw error
  }
}

/** With a sentence for the error replies that people can do something about. */
async function explained<T>(reply: Promise<T>, sentences: Readonly<Record<string, string>>): Promise<T> {
  try {
    return await reply
  } catch (error) {
    const sentence = error instanceof RespError ? sentences[error.message] : undefined
    throw sentence === undefined ? error : refused(sentence, error)
  }
}

function refused(sentence: string, cause?: unknown): StorError {
  return new StorError('refused', sentence, { cause })
}
