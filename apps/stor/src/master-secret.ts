import type { RandomSource } from '@qsfs/concurrency/clock'
import { KeyError } from '@qsfs/crypto/errors'
import { createMasterFile, readMasterFile } from '@qsfs/crypto/master-file'
import { Secret } from '@qsfs/crypto/secret'
import type { Log } from '@qsfs/telemetry/log'
import { StorError } from './errors.ts'

/** Where the config says the master secret is: in a file of its own, or, as zstor has it, in the config. */
export class MasterSecret {
  readonly #key: Buffer | null
  readonly #path: string | null
  readonly #random: RandomSource
  readonly #log: Log

  constructor(key: Buffer | null, path: string | null, random: RandomSource, log: Log) {
    this.#key = key
    this.#path = path
    this.#random = random
    this.#log = log
  }

  /** Null when the file is not there yet.
   *  @throws StorError 'wrong-key' when what is there is no usable secret, and why */
  async read(): Promise<Secret | null> {
    if (this.#path === null) return this.#key === null ? null : new Secret(this.#key)
    try {
      return await readMasterFile(this.#path)
    } catch (error) {
      if (error instanceof KeyError) throw new StorError('wrong-key', error.message, { cause: error })
      const code = error instanceof Error && 'code' in error ? error.code : null
      if (code === 'ENOENT') return null
      throw new StorError('file', `${this.#path} cannot be read: ${(error as Error).message}`, { cause: error })
    }
  }

  /** Makes the file, for a new store.
   *  @throws StorError 'file' */
  async create(): Promise<Secret> {
    const path = this.#path
    if (path === null) throw new StorError('file', 'the config names no file for the master secret')
    try {
      const master = await createMasterFile(path, this.#random)
      this.#log.event('master_secret.created', { path })
      return master
    } catch (error) {
      throw new StorError('file', `the master secret ${path} cannot be made: ${(error as Error).message}`, {
        cause: error,
      })
    }
  }
}
