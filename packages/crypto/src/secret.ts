import assert from 'node:assert'
import { inspect } from 'node:util'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 } from '@noble/hashes/sha2.js'

/** Where key bytes come from; `node:crypto.randomBytes` in daemons, seeded in tests. */
export type RandomBytes = (lengthBytes: number) => Buffer

export const secretBytes = 32

/** 256 bits that no log, error or JSON ever shows: it prints as ***. */
export class Secret {
  readonly #bytes: Buffer

  /** Copies the bytes. */
  constructor(bytes: Uint8Array) {
    assert(bytes.length === secretBytes, `a secret has ${secretBytes} bytes, not ${bytes.length}`)
    this.#bytes = Buffer.alloc(secretBytes)
    this.#bytes.set(bytes)
  }

  static random(random: RandomBytes): Secret {
    return new Secret(random(secretBytes))
  }

  /** The bytes themselves, for a cipher or the key file; borrowed, never to be kept or printed. */
  expose(): Buffer {
    return this.#bytes
  }

  /** A key for one purpose only: HKDF-SHA-256 with the purpose's label. */
  derive(label: string): Secret {
    return new Secret(hkdf(sha256, this.#bytes, undefined, Buffer.from(label), secretBytes))
  }

  toString(): string {
    return '***'
  }

  toJSON(): string {
    return '***'
  }

  [inspect.custom](): string {
    return 'Secret(***)'
  }
}
