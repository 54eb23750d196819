import type { Reply } from '@qsfs/resp/reply'
import { Refused } from '../errors.ts'
import type { Session } from '../session.ts'
import { serverInfo } from './info.ts'
import { answerBytes, answerTo, isSameSecret } from './secret.ts'

const passwordBytesMax = 128
const challengeBytes = 8

export function ping(): Reply {
  return 'PONG'
}

/** ECHO bytes → the bytes: `redis-cli --pipe` waits for them behind its input. */
export function echo(_session: Session, [, bytes]: Buffer[]): Reply {
  // The memory of arguments is used again once the command is answered, which is before the reply has left.
  return Buffer.from(bytes!)
}

/** HELLO → the error at which clients that would speak RESP3 go on with RESP2. @throws Refused */
export function hello(): Reply {
  throw new Refused('NOPROTO only RESP2 is spoken here')
}

/** TIME → unix seconds and microseconds, as bulks. */
export function time({ server }: Session): Reply {
  const nowMicroseconds = Math.floor(server.clock.nowMs() * 1000)
  return [Math.floor(nowMicroseconds / 1e6), nowMicroseconds % 1e6].map(part => Buffer.from(String(part)))
}

export function info(session: Session): Reply {
  return Buffer.from(serverInfo(session))
}

/** AUTH password | AUTH SECURE CHALLENGE | AUTH SECURE answer */
export function auth(session: Session, args: Buffer[]): Reply {
  const { adminPassword } = session.server
  const [, first, second] = args
  if (args.length === 2) {
    if (adminPassword === '') throw new Refused('Authentication disabled')
    if (first!.length === 0) throw new Refused('Invalid argument')
    if (first!.length > passwordBytesMax) throw new Refused('Password too long')
    return admit(session, isSameSecret(first!, adminPassword))
  }
  if (args.length !== 3) throw new Refused('Unexpected arguments')
  if (first!.length === 0 || second!.length === 0) throw new Refused('Invalid argument')
  if (!isWord(first!, 'SECURE')) throw new Refused('Only SECURE extra method supported')
  if (isWord(second!, 'CHALLENGE')) {
    session.challenge = session.server.random(challengeBytes).toString('hex')
    return session.challenge
  }
  if (adminPassword === '') throw new Refused('Authentication disabled')
  const isRight = isRightAnswer(session, second!, adminPassword)
  session.challenge = null
  return admit(session, isRight)
}

/** Whether the answer to the pending challenge proves the password. @throws Refused */
export function isRightAnswer(session: Session, answer: Buffer, password: string): boolean {
  const { challenge } = session
  if (challenge === null) throw new Refused('No CHALLENGE requested, secure authentication not available')
  if (answer.length !== answerBytes) throw new Refused('Invalid hash length')
  return isSameSecret(answer, answerTo(challenge, password))
}

/** Whether an argument is this word, in any case. */
export function isWord(argument: Buffer, word: string): boolean {
  return argument.length === word.length && argument.toString('latin1').toUpperCase() === word
}

/** HOOKS → per run [event, [argument…], pid, start, end, exit code]; the end is 0 while it runs. */
export function hooks(session: Session): Reply {
  return session.server.hooks
    .runs()
    .map(({ event, args, pid, startSeconds, endSeconds, exitCode }) => [
      Buffer.from(event),
      args.map(argument => Buffer.from(argument)),
      pid,
      startSeconds,
      endSeconds,
      exitCode,
    ])
}

export function stop({ server }: Session): Reply {
  if (!server.stop) throw new Refused('Unauthorized')
  // After the reply has left.
  server.clock.schedule(100, server.stop)
  return 'Stopping'
}

function admit(session: Session, isRight: boolean): Reply {
  if (!isRight) throw new Refused('Access denied')
  session.isAdmin = true
  return 'OK'
}
