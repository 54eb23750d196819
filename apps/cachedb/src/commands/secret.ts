import { createHash, timingSafeEqual } from 'node:crypto'

// Passwords are bytes: in a string each character stands for one.

/** Compares without telling by its time where the difference is. */
export function isSameSecret(given: Buffer, expected: string): boolean {
  const digest = (secret: Buffer) => createHash('sha256').update(secret).digest()
  return timingSafeEqual(digest(given), digest(Buffer.from(expected, 'latin1')))
}

/** 0-db's answer to a challenge: lower-case hex SHA-1 of `<challenge>:<password>`. */
export function answerTo(challenge: string, password: string): string {
  return createHash('sha1').update(`${challenge}:${password}`, 'latin1').digest('hex')
}

/** Hex digits of a SHA-1. */
export const answerBytes = 40
