import type { MaybePromise, noReply, Reply } from '@qsfs/resp/reply'
import type { Session } from '../session.ts'
import { auth, echo, hello, hooks, info, ping, stop, time } from './admin.ts'
import {
  type Arity,
  anyArguments,
  atLeast,
  deleteArity,
  exactly,
  historyArity,
  multiGetArity,
  setArity,
} from './arity.ts'
import { check, del, exists, get, getRange, keyTime, length, multiGet, set } from './dataset.ts'
import { history, keyCursor } from './history.ts'
import { master } from './master.ts'
import { mirror } from './mirror.ts'
import {
  databaseSize,
  flush,
  namespaceCreate,
  namespaceDrop,
  namespaceInfo,
  namespaceJump,
  namespaceList,
  namespaceReload,
  namespaceSet,
  select,
} from './namespace.ts'
import { fsync, owner, segments, warm } from './owner.ts'
import { point } from './point.ts'
import { data, index } from './replication.ts'
import { scan, scanBackward, scanPrefix } from './scan.ts'
import { anyCommand, wait } from './wait.ts'

/** One command. Rows are checked in this order: admin rights, arity, key length, write rights, frozen, locked, owner. */
export interface Command {
  readonly name: string
  readonly arity: Arity
  /** read, write: of the current namespace; open: everybody; admin: 0-db's admin password. */
  readonly access: 'open' | 'admin' | 'read' | 'write'
  readonly run: (session: Session, args: Buffer[]) => MaybePromise<Reply> | typeof noReply
  /** 0-db's words when the first argument is longer than a key can be. */
  readonly keyTooLong?: string
  /** It uses the session's namespace, without being a read or a write of it: it waits for a RELOAD. */
  readonly waits?: true
  /** Nothing of the same connection runs beside it. */
  readonly serial?: true
  /** The first argument, counted with the name, that may be a password no mirror shall see. */
  readonly secretsFrom?: number
}

export interface NumberedCommand extends Command {
  /** Its place in the table. */
  readonly row: number
}

const rows: readonly Command[] = [
  { name: '*', arity: anyArguments, access: 'open', run: anyCommand },
  { name: 'WAIT', arity: anyArguments, access: 'open', run: (session, args) => wait(session, args, findCommand) },
  { name: 'MIRROR', arity: anyArguments, access: 'admin', run: mirror },
  { name: 'MASTER', arity: anyArguments, access: 'admin', run: master },
  { name: 'PING', arity: anyArguments, access: 'open', run: ping },
  { name: 'TIME', arity: anyArguments, access: 'open', run: time },
  { name: 'AUTH', arity: anyArguments, access: 'open', run: auth, secretsFrom: 1 },
  { name: 'INFO', arity: anyArguments, access: 'open', run: info },
  { name: 'HOOKS', arity: anyArguments, access: 'admin', run: hooks },
  { name: 'STOP', arity: anyArguments, access: 'admin', run: stop },

  { name: 'SET', arity: setArity, access: 'write', run: set, keyTooLong: 'Key too large' },
  { name: 'SETX', arity: setArity, access: 'write', run: set, keyTooLong: 'Key too large' },
  { name: 'GET', arity: exactly(2), access: 'read', run: get, keyTooLong: 'Invalid key' },
  { name: 'GETRANGE', arity: exactly(4), access: 'read', run: getRange, keyTooLong: 'Invalid key' },
  { name: 'MGET', arity: multiGetArity, access: 'read', run: multiGet },
  { name: 'DEL', arity: deleteArity, access: 'write', run: del, keyTooLong: 'Invalid key' },
  { name: 'EXISTS', arity: exactly(2), access: 'read', run: exists, keyTooLong: 'Invalid key' },
  { name: 'CHECK', arity: exactly(2), access: 'read', run: check, keyTooLong: 'Invalid key' },
  { name: 'LENGTH', arity: exactly(2), access: 'read', run: length, keyTooLong: 'Invalid key' },
  { name: 'KEYTIME', arity: exactly(2), access: 'read', run: keyTime, keyTooLong: 'Invalid key' },
  { name: 'SCAN', arity: anyArguments, access: 'read', run: scan },
  { name: 'SCANX', arity: anyArguments, access: 'read', run: scan },
  { name: 'RSCAN', arity: anyArguments, access: 'read', run: scanBackward },
  { name: 'KSCAN', arity: anyArguments, access: 'open', run: scanPrefix, waits: true, serial: true },
  { name: 'KEYCUR', arity: exactly(2), access: 'read', run: keyCursor },
  { name: 'HISTORY', arity: historyArity, access: 'read', run: history },
  { name: 'DATA', arity: atLeast(2), access: 'admin', run: data, waits: true },
  { name: 'INDEX', arity: atLeast(2), access: 'admin', run: index, waits: true },

  { name: 'SELECT', arity: anyArguments, access: 'open', run: select, secretsFrom: 2 },
  { name: 'DBSIZE', arity: anyArguments, access: 'open', run: databaseSize, waits: true },
  { name: 'NSLIST', arity: anyArguments, access: 'open', run: namespaceList },
  { name: 'NSINFO', arity: exactly(2), access: 'open', run: namespaceInfo },
  { name: 'NSNEW', arity: exactly(2), access: 'admin', run: namespaceCreate, serial: true },
  { name: 'NSDEL', arity: exactly(2), access: 'admin', run: namespaceDrop, serial: true },
  { name: 'NSSET', arity: exactly(4), access: 'admin', run: namespaceSet, serial: true },
  { name: 'NSJUMP', arity: anyArguments, access: 'admin', run: namespaceJump, waits: true },
  { name: 'RELOAD', arity: exactly(2), access: 'admin', run: namespaceReload, serial: true },
  { name: 'FLUSH', arity: anyArguments, access: 'write', run: flush, serial: true },

  { name: 'ECHO', arity: exactly(2), access: 'open', run: echo },
  { name: 'HELLO', arity: anyArguments, access: 'open', run: hello, secretsFrom: 1 },
  { name: 'OWNER', arity: atLeast(3), access: 'open', run: owner },
  { name: 'POINT', arity: atLeast(2), access: 'open', run: point },
  { name: 'FSYNC', arity: anyArguments, access: 'open', run: fsync },
  { name: 'WARM', arity: exactly(2), access: 'read', run: warm },
  { name: 'SEGMENTS', arity: anyArguments, access: 'read', run: segments },
]

const rowByName: ReadonlyMap<string, NumberedCommand> = new Map(
  rows.map((row, index) => [row.name, { ...row, row: index }]),
)
/** By `codeOf` the name: a lookup by text costs a new string and its hash, half a microsecond. */
const rowByCode: ReadonlyMap<number, NumberedCommand> = new Map(
  [...rowByName.values()].map(row => [codeOf(Buffer.from(row.name)), row]),
)
/** In the order of the rows. */
export const commandNames: readonly string[] = rows.map(({ name }) => name)
const nameBytesMax = Math.max(...rows.map(({ name }) => name.length))

/** Whether it needs the session's namespace to be loaded. */
export function usesNamespace({ access, waits }: Command): boolean {
  return access === 'read' || access === 'write' || waits === true
}

/** The row of a command, whatever the case of its name. 0-db also takes prefixes (`G` = GET), by accident; we do not. */
export function findCommand(name: Buffer): NumberedCommand | undefined {
  if (name.length > nameBytesMax) return undefined
  const row = rowByCode.get(codeOf(name))
  if (row !== undefined && isNamed(row, name)) return row
  // Without an argument toString takes a shorter way; what is no ASCII is no command anyway.
  const text = name.toString()
  return rowByName.get(text) ?? rowByName.get(text.toUpperCase())
}

/** The same for both cases of a letter; not unique. */
function codeOf(name: Buffer): number {
  let code = 0
  for (let at = 0; at < name.length; at++) code = (code * 31 + (name[at]! & 0xdf)) & 0x3fffffff
  return code
}

function isNamed(row: Command, name: Buffer): boolean {
  if (row.name.length !== name.length) return false
  for (let at = 0; at < name.length; at++) if (row.name.charCodeAt(at) !== (name[at]! & 0xdf)) return false
  return true
}
