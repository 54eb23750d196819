import { createHash } from 'node:crypto'
import { link, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KeyError } from './errors.ts'
import { type RandomBytes, Secret, secretBytes } from './secret.ts'

const magic = 'qsfs-master-1'
const notice =
  '# The master secret of a qsfs store. With it and enough backends everything can be read; without it nothing can.\n' +
  '# Keep a copy away from this machine.\n'

/** The master secret as people keep it: version, eight groups of hex digits, check digits (docs/formats/keys.md). */
export function formatMaster(master: Secret): string {
  const digits = master.expose().toString('hex')
  return `${magic} ${digits.match(/.{8}/g)?.join('-')} ${checkDigits(digits)}`
}

/** Reads what `formatMaster` wrote, or a person typed: case, line breaks and lines that begin with # do not matter.
 *  @throws KeyError 'not-a-key' for something else, 'mistyped' when the check digits do not fit */
export function parseMaster(text: string): Secret {
  const words = text.replace(/^#.*$/gm, ' ').trim().toLowerCase().split(/\s+/)
  if (words[0] !== magic) throw new KeyError('not-a-key', `a master secret begins with ${magic}, this does not`)
  const digits = words.slice(1, -1).join('').replaceAll('-', '')
  const check = words.at(-1) ?? ''
  if (!/^[0-9a-f]*$/.test(digits + check) || digits.length !== secretBytes * 2 || check !== checkDigits(digits)) {
    throw new KeyError('mistyped', 'the master secret was mistyped or cut: its check digits do not fit')
  }
  return new Secret(Buffer.from(digits, 'hex'))
}

/** @throws KeyError as parseMaster, and 'exposed' when others may read the file; the file system's error when it is absent */
export async function readMasterFile(path: string): Promise<Secret> {
  const text = await readSecretFile(path)
  try {
    return parseMaster(text)
  } catch (error) {
    if (error instanceof KeyError) throw new KeyError(error.reason, `${path}: ${error.message}`)
    throw error
  }
}

/** The text of a file that only its owner may read; /dev/stdin is one.
 *  @throws KeyError 'exposed'; the file system's error when it is absent */
export async function readSecretFile(path: string): Promise<string> {
  const status = await stat(path)
  if (status.isFile() && (status.mode & 0o077) !== 0) {
    throw new KeyError('exposed', `others may read this secret: chmod 600 ${path}`)
  }
  return readFile(path, 'utf8')
}

/** Puts a secret's next version in the place of the one before, whole and on disk: there is always one of them. */
export async function replaceSecretFile(path: string, nextPath: string): Promise<void> {
  await rename(nextPath, path)
  await syncDirectoryOf(path)
}

/** Generates a master secret into a new file of mode 0600. The file appears whole and on disk, or not at all.
 *  @throws the file system's EEXIST when there is one already: a secret is never replaced */
export async function createMasterFile(path: string, random: RandomBytes): Promise<Secret> {
  const master = Secret.random(random)
  const partPath = `${path}.${random(8).toString('hex')}.part`
  try {
    await using part = await open(partPath, 'wx', 0o600)
    await part.writeFile(`${notice}${formatMaster(master)}\n`)
    await part.sync()
    // Not rename: a link fails where the name is taken.
    await link(partPath, path)
  } finally {
    await rm(partPath, { force: true })
  }
  await syncDirectoryOf(path)
  return master
}

async function syncDirectoryOf(path: string): Promise<void> {
  await using directory = await open(dirname(path), 'r')
  await directory.sync()
}

function checkDigits(digits: string): string {
  return createHash('sha256').update(`${magic} ${digits}`).digest('hex').slice(0, 8)
}
