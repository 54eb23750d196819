import { noReply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'

const timeoutMsDefault = 5_000
const timeoutMs = { min: 100, max: 1_800_000 } as const

/** WAIT command [timeout-ms]: answered out of turn, with the command's name once another connection executed it in our namespace. */
export function wait(
  session: Session,
  args: Buffer[],
  findCommand: (name: Buffer) => { readonly name: string } | undefined,
): typeof noReply {
  if (args.length !== 2 && args.length !== 3) throw new Refused('Invalid arguments')
  const command = findCommand(args[1]!)
  if (!command) throw new Refused('Unknown command to watch')
  const name = command.name === '*' ? null : command.name
  session.server.audience.wait(session, name, args[2] === undefined ? timeoutMsDefault : timeoutOf(args[2]))
  return noReply
}

/** C's atoi within 0-db's limits. */
function timeoutOf(argument: Buffer): number {
  const milliseconds = Number(/^\s*\+?(\d+)/.exec(argument.toString('latin1'))?.[1] ?? 0)
  if (argument.length > 16 || milliseconds < timeoutMs.min || milliseconds > timeoutMs.max)
    throw new Refused('Invalid timeout')
  return milliseconds
}

/** `*`: exists only to be waited for. */
export function anyCommand(): never {
  throw new Refused('This is not a valid command')
}
