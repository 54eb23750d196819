import { createHash, timingSafeEqual } from 'node:crypto'

/** Compares without telling by its time where the difference is. */
export function isSameSecret(given: string | Buffer, expected: string): boolean {
  const digest = (secret: string | Buffer) => createHash('sha256').update(secret).digest()
  return timingSafeEqual(digest(given), digest(expected))
}

/** 0-db's answer to a challenge: lower-case hex SHA-1 of `<challenge>:<password>`. */
export function answerTo(challenge: string, password: string): string {
  return createHash('sha1').update(`${challenge}:${password}`).digest('hex')
}

/** Hex digits of a SHA-1. */
export const answerBytes = 40
