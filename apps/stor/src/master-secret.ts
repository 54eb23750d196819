import type { RandomSource } from '@qsfs/concurrency/clock'
import { environmentValue } from '@qsfs/config/caller'
import { KeyError } from '@qsfs/crypto/errors'
import {
  createMasterFile,
  parseMaster,
  readMasterFile,
  readSecretFile,
  replaceSecretFile,
} from '@qsfs/crypto/master-file'
import { masterFromPassphrase, newPassphraseCost, type PassphraseCost } from '@qsfs/crypto/passphrase'
import { Secret } from '@qsfs/crypto/secret'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from './errors.ts'

/** Where the config says the master secret is. `inline` is zstor's way. A file may be /dev/stdin. */
export type MasterSource =
  | { readonly kind: 'inline'; readonly key: Buffer }
  | { readonly kind: 'file' | 'passphrase-file'; readonly path: string }
  | { readonly kind: 'environment' | 'passphrase-environment'; readonly variable: string }

/** The master secret of one store, and the one that replaces it while it is rotated: that one lies beside the file, as
 *  `<file>.next`. Nothing of either is ever logged. */
export class MasterSecret {
  readonly #source: MasterSource
  readonly #random: RandomSource
  readonly #log: Log
  /** Stdin can be read once. */
  #stdin: Promise<string> | null = null
  /** A passphrase costs a third of a second, and each copy of the superblock asks for it. */
  readonly #derived = new Map<string, Promise<Secret>>()

  constructor(source: MasterSource, random: RandomSource, log: Log) {
    this.#source = source
    this.#random = random
    this.#log = log
  }

  /** Null when the file is not there yet.
   *  @param cost what the superblock says of a passphrase
   *  @throws StorError 'wrong-key' when what is there is no usable secret, and why; 'damaged' for an absurd cost */
  async read(cost: PassphraseCost | null): Promise<Secret | null> {
    const source = this.#source
    switch (source.kind) {
      case 'inline':
        return this.#fits(cost) && new Secret(source.key)
      case 'file':
        return this.#fits(cost) && this.#readFile(source.path, cost)
      case 'environment':
        return this.#fits(cost) && this.#usable(source.variable, async () => parseMaster(variable(source)))
      case 'passphrase-file':
        return this.#fits(cost) && this.#readFile(source.path, cost)
      case 'passphrase-environment':
        return this.#fits(cost) && this.#usable(source.variable, () => this.#derive(variable(source), cost!))
      default:
        return source satisfies never
    }
  }

  /** Makes one, for a new store: a key file, or the cost of the passphrase that is there.
   *  @throws StorError 'file', 'wrong-key' */
  async create(): Promise<{ readonly master: Secret; readonly passphrase: PassphraseCost | null }> {
    const passphrase = this.#isPassphrase ? newPassphraseCost(this.#random) : null
    const existing = await this.read(passphrase)
    if (existing !== null) return { master: existing, passphrase }
    const source = this.#source
    if (source.kind === 'passphrase-file') throw new StorError('file', `${source.path}: write the passphrase into it`)
    if (source.kind !== 'file') throw new StorError('file', 'the config names no file for the master secret')
    return { master: await this.#makeFile(source.path), passphrase }
  }

  /** The secret that is to replace this one; null when none is.
   *  @throws StorError as read */
  async readNext(cost: PassphraseCost | null): Promise<Secret | null> {
    const path = this.#nextPath
    return path === null ? null : this.#readFile(path, cost)
  }

  /** The secret that is to replace this one, made where it is ours to make. On disk when it resolves.
   *  @throws StorError 'refused' where there is no file to replace, or no new passphrase in it; 'file' */
  async makeNext(cost: PassphraseCost | null): Promise<Secret> {
    const path = this.#nextPath
    if (path === null) {
      throw new StorError('refused', 'only a master secret in a file can be replaced: it is not in one, by the config')
    }
    const next = await this.readNext(cost)
    if (next !== null) return next
    if (this.#isPassphrase) throw new StorError('refused', `write the new passphrase into ${path} (mode 0600) first`)
    return this.#makeFile(path)
  }

  /** Puts the next secret in the place of the one before.
   *  @throws StorError 'file' */
  async adoptNext(): Promise<void> {
    const path = this.#nextPath!
    try {
      await replaceSecretFile(path.slice(0, -'.next'.length), path)
    } catch (cause) {
      throw new StorError('file', `${path} cannot be renamed: ${(cause as Error).message}`, { cause })
    }
  }

  get #isPassphrase(): boolean {
    return this.#source.kind.startsWith('passphrase')
  }

  get #nextPath(): string | null {
    const source = this.#source
    const isFile = (source.kind === 'file' || source.kind === 'passphrase-file') && source.path !== '/dev/stdin'
    return isFile ? `${source.path}.next` : null
  }

  /** @throws StorError 'wrong-key' when the store has the other kind of master */
  #fits(cost: PassphraseCost | null): true {
    if ((cost !== null) === this.#isPassphrase) return true
    const text = this.#isPassphrase
      ? 'its master secret is a key, not a passphrase: master_key_file'
      : 'its master secret comes from a passphrase: master_passphrase_file'
    throw new StorError('wrong-key', `the store exists, and ${text}`)
  }

  async #readFile(path: string, cost: PassphraseCost | null): Promise<Secret | null> {
    try {
      return await this.#usable(path, async () => {
        if (path === '/dev/stdin') {
          this.#stdin ??= readSecretFile(path)
          const text = await this.#stdin
          return cost === null ? parseMaster(text) : this.#derive(text, cost)
        }
        return cost === null ? readMasterFile(path) : this.#derive(await readSecretFile(path), cost)
      })
    } catch (error) {
      if (error instanceof StorError) throw error
      const code = error instanceof Error && 'code' in error ? error.code : null
      if (code === 'ENOENT') return null
      throw new StorError('file', `${path} cannot be read: ${(error as Error).message}`, { cause: error })
    }
  }

  async #usable(place: string, read: () => Promise<Secret>): Promise<Secret> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof KeyError)) throw error
      if (error.reason === 'damaged') throw new StorError('damaged', `a superblock: ${error.message}`, { cause: error })
      const text = error.message.includes(place) ? error.message : `${place}: ${error.message}`
      throw new StorError('wrong-key', text, { cause: error })
    }
  }

  #derive(passphrase: string, cost: PassphraseCost): Promise<Secret> {
    return this.#derived.getOrInsertComputed(JSON.stringify([passphrase, cost]), () =>
      masterFromPassphrase(passphrase, cost),
    )
  }

  async #makeFile(path: string): Promise<Secret> {
    try {
      const master = await createMasterFile(path, this.#random)
      this.#log.event('master_secret.created', { path })
      return master
    } catch (cause) {
      throw new StorError('file', `the master secret ${path} cannot be made: ${(cause as Error).message}`, { cause })
    }
  }
}

function variable({ variable }: { readonly variable: string }): string {
  const value = environmentValue(variable)
  if (value === undefined || value === '') throw new StorError('wrong-key', `${variable} is not in the environment`)
  return value
}
