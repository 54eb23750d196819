import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import type { Reply } from '@qsfs/resp/reply'
import { defaultNamespace, type HostedNamespace } from '../engine/namespaces.ts'
import { Refused } from '../errors.ts'
import { StorageError } from '../segment/storage.ts'
import type { Session } from '../session.ts'
import { isRightAnswer, isWord } from './admin.ts'
import { namespaceInfoText } from './info.ts'
import { isSameSecret } from './secret.ts'

const nameBytesMax = 128
const propertyBytesMax = 256
const valueBytesMax = 63
const passwordBytesMax = 255

/** SELECT namespace [password | SECURE answer] */
export function select(session: Session, args: Buffer[]): Reply {
  if (args.length < 2) throw new Refused('Invalid argument')
  const hosted = find(session, args[1]!)
  session.select(hosted, isWritableWith(session, hosted, args))
  return 'OK'
}

/** Whether the password given makes the connection one that may write. @throws Refused when it may not even read */
function isWritableWith(session: Session, hosted: HostedNamespace, args: Buffer[]): boolean {
  const { password, public: isPublic } = hosted.namespace.settings
  if (password === '') return true
  if (args.length === 2) {
    if (!isPublic) throw new Refused('Namespace protected and private')
    return false
  }
  if (args.length > 4) throw new Refused('Too many arguments')
  if (args.length === 3 && args[2]!.length > passwordBytesMax) throw new Refused('Password too long')
  if (args.length === 4 && !isWord(args[2]!, 'SECURE')) throw new Refused('Only SECURE extra method supported')
  const isRight = args.length === 3 ? isSameSecret(args[2]!, password) : isRightAnswer(session, args[3]!, password)
  if (!isRight) throw new Refused('Access denied')
  return true
}

export function databaseSize(session: Session): Reply {
  return session.hosted.namespace.info().entries
}

export function namespaceList(session: Session): Reply {
  return session.server.namespaces.list().map(({ namespace }) => Buffer.from(namespace.name))
}

export function namespaceInfo(session: Session, args: Buffer[]): Reply {
  return Buffer.from(namespaceInfoText(find(session, args[1]!), session))
}

export async function namespaceCreate(session: Session, args: Buffer[]): Promise<Reply> {
  const name = nameOf(args[1]!)
  try {
    await session.server.namespaces.create(name)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    session.server.log.error('namespace.not_created', { namespace: name, error })
    throw new Refused('Could not create namespace')
  }
  return 'OK'
}

export async function namespaceDrop(session: Session, args: Buffer[]): Promise<Reply> {
  const name = nameOf(args[1]!)
  const { namespaces } = session.server
  if (name === defaultNamespace) throw new Refused('Cannot remove default namespace')
  if (namespaces.get(name) === session.hosted) throw new Refused("Cannot remove namespace you're currently using.")
  await namespaces.drop(name)
  return 'OK'
}

/** NSSET namespace property value */
export async function namespaceSet(session: Session, args: Buffer[]): Promise<Reply> {
  const [, name, property, value] = args as [Buffer, Buffer, Buffer, Buffer]
  if (name.length > nameBytesMax) throw new Refused('Namespace too long')
  if (property.length > propertyBytesMax || value.length > valueBytesMax) throw new Refused('Argument too long')
  await change(session, find(session, name), property.toString(), value)
  return 'OK'
}

async function change(session: Session, hosted: HostedNamespace, property: string, value: Buffer): Promise<void> {
  const { namespaces } = session.server
  // 0-db: on when the first character is 1.
  const isOn = value[0] === 0x31
  if (property === 'lock' || property === 'freeze') {
    const closed = property === 'lock' ? 'locked' : 'frozen'
    hosted.lock = isOn ? closed : 'unlocked'
    return namespaces.updated(hosted)
  }
  if (property === 'mode') return changeMode(session, hosted, value.toString())
  if (hosted === namespaces.default) throw new Refused('Cannot update default namespace')
  switch (property) {
    case 'maxsize': {
      const maxBytes = sizeOf(value)
      return namespaces.update(hosted, settings => ({ ...settings, maxBytes }))
    }
    case 'password': {
      const password = value.toString('latin1') === '*' ? '' : value.toString('latin1')
      return namespaces.update(hosted, settings => ({ ...settings, password }))
    }
    case 'public':
      return namespaces.update(hosted, settings => ({ ...settings, public: isOn }))
    case 'worm':
      return namespaces.update(hosted, settings => ({ ...settings, worm: isOn }))
    default:
      throw new Refused('Invalid property')
  }
}

function changeMode(session: Session, hosted: HostedNamespace, value: string): Promise<void> {
  const { namespaces } = session.server
  if (namespaces.options.mode !== 'mixed')
    throw new Refused('This server instance is configured to use a single runtime mode')
  return namespaces.update(hosted, settings => {
    if (!hosted.namespace.isFresh) throw new Refused('Cannot change mode of used namespace')
    if (value !== 'user' && value !== 'seq') throw new Refused('Invalid property value (expected: user, seq)')
    return { ...settings, mode: value === 'seq' ? 'sequential' : 'user' }
  })
}

/** C's atoll; what is no number or below 0 is no limit. */
function sizeOf(value: Buffer): number {
  const digits = /^\s*\+?(\d+)/.exec(value.toString('latin1'))?.[1]
  return digits === undefined ? 0 : Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}

export function namespaceJump(session: Session): Reply {
  session.hosted.namespace.jump()
  return 'OK'
}

export async function namespaceReload(session: Session, args: Buffer[]): Promise<Reply> {
  await session.server.namespaces.reload(find(session, args[1]!))
  return 'OK'
}

/** FLUSH: every value of a private, password-protected namespace goes, ids begin at 0 again. 0-db checks no right beyond
 *  that; whoever may not write or delete may not do this here either. */
export async function flush(session: Session): Promise<Reply> {
  const { namespace } = session.hosted
  if (namespace.settings.public || namespace.settings.password === '')
    throw new Refused('Flushing public namespace denied')
  if (namespace.settings.worm) throw new Refused('Cannot delete a key when namespace is in worm mode')
  await namespace.flush()
  return 'OK'
}

function find(session: Session, name: Buffer): HostedNamespace {
  const hosted = session.server.namespaces.get(nameOf(name))
  if (!hosted) throw new Refused(ErrorText.namespaceNotFound)
  return hosted
}

function nameOf(argument: Buffer): string {
  if (argument.length > nameBytesMax) throw new Refused('Namespace too long')
  const name = argument.toString()
  // What is not UTF-8 would become another name.
  return Buffer.from(name).equals(argument) ? name : ''
}
