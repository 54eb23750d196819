import { argon2 } from 'node:crypto'
import { promisify } from 'node:util'
import { KeyError } from './errors.ts'
import { type RandomBytes, Secret, secretBytes } from './secret.ts'

/** How a passphrase becomes a master secret: argon2id's cost, and 16 bytes of salt that belong to one store. */
export interface PassphraseCost {
  readonly memoryKiB: number
  readonly passes: number
  readonly lanes: number
  readonly salt: Buffer
}

/** What is asked for less is guessed. */
const passphraseCharactersMin = 12
/** The cost stands in the superblock, which a backend may have forged: it is paid before anything can be checked. */
const most = { memoryKiB: 256 * 1024, passes: 16, lanes: 16 } as const

/** The cost that new stores get: 64 MiB, a third of a second. */
export function newPassphraseCost(random: RandomBytes): PassphraseCost {
  return { memoryKiB: 64 * 1024, passes: 3, lanes: 1, salt: random(16) }
}

/** argon2id (RFC 9106). The same characters count, however a keyboard composes them.
 *  @throws KeyError 'damaged' for a cost that we never wrote, 'not-a-key' for a passphrase that is too short */
export async function masterFromPassphrase(passphrase: string, cost: PassphraseCost): Promise<Secret> {
  const { memoryKiB, passes, lanes, salt } = cost
  const sane = passes >= 1 && lanes >= 1 && memoryKiB >= 8 * lanes && salt.length === 16
  if (!sane || memoryKiB > most.memoryKiB || passes > most.passes || lanes > most.lanes) {
    throw new KeyError('damaged', `a passphrase is not derived with ${memoryKiB} KiB, ${passes} passes, ${lanes} lanes`)
  }
  const characters = passphrase.normalize('NFKC').trim()
  if ([...characters].length < passphraseCharactersMin) {
    throw new KeyError('not-a-key', `a passphrase has at least ${passphraseCharactersMin} characters`)
  }
  const message = Buffer.from(characters)
  const parameters = { message, nonce: salt, memory: memoryKiB, passes, parallelism: lanes, tagLength: secretBytes }
  return new Secret(await promisify(argon2)('argon2id', parameters))
}
