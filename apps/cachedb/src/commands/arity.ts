import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

/** Checks the argument count of a command, its name included, and what 0-db checks with it.
 *  @throws Refused */
export type Arity = (args: readonly Buffer[], session: Session) => void

/** Any count: 0-db ignores what it does not need. */
export const anyArguments: Arity = () => {}

/** Exactly so many, none of them empty. */
export function exactly(count: number): Arity {
  return args => {
    if (args.length !== count) throw new Refused('Unexpected arguments')
    refuseEmpty(args)
  }
}

/** So many or more, none of them empty. */
export function atLeast(count: number): Arity {
  return args => {
    if (args.length < count) throw new Refused('Missing arguments')
    refuseEmpty(args)
  }
}

/** MGET key…: keys may be empty. */
export const multiGetArity: Arity = args => {
  if (args.length < 2) throw new Refused('Invalid arguments')
  for (const key of args.slice(1)) if (key.length > WireLimit.keyBytesMax) throw new Refused('Invalid key')
}

/** HISTORY key [position]: arguments may be empty. */
export const historyArity: Arity = args => {
  if (args.length !== 2 && args.length !== 3) throw new Refused('Invalid arguments')
}

/** SET key value [timestamp]: arguments may be empty, the timestamp is for admins. */
export const setArity: Arity = (args, session) => {
  if (args.length === 4) session.requireAdmin()
  else if (args.length !== 3) throw new Refused('Unexpected arguments')
}

/** DEL key [timestamp]: the timestamp is for admins, and is one: `DEL a b` must not delete `a` for somebody who expects
 *  it to delete both. */
export const deleteArity: Arity = (args, session) => {
  if (args.length !== 3) return exactTwo(args, session)
  session.requireAdmin()
  if (!/^\d{1,20}$/.test(args[2]!.toString('latin1'))) throw new Refused('Invalid argument')
}

const exactTwo = exactly(2)

function refuseEmpty(args: readonly Buffer[]): void {
  for (const argument of args) if (argument.length === 0) throw new Refused('Invalid argument')
}
