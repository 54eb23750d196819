import { layout } from '@qsfs/bytes/layout'
import { FormatError } from '../format.ts'

/** Beginning of 0-db's `zdb-namespace`, version 1; name and password follow. */
const Descriptor = layout('zdb_namespace', 15, {
  version: [0, 'u32'],
  nameBytes: [4, 'u8'],
  passwordBytes: [5, 'u8'],
  maxBytes: [6, 'u53'],
  flags: [14, 'u8'],
})

const Flag = { public: 1, worm: 2, always: 4 } as const
const version = 1

export interface ZdbDescriptor {
  /** Quota of live payload bytes, 0 = none. */
  readonly maxBytes: number
  readonly public: boolean
  readonly worm: boolean
  /** '' = none. One character a byte. */
  readonly password: string
}

export function encodeDescriptor(name: string, settings: ZdbDescriptor): Buffer {
  const nameAsBytes = Buffer.from(name)
  const password = Buffer.from(settings.password, 'latin1')
  const flags = Flag.always | (settings.public ? Flag.public : 0) | (settings.worm ? Flag.worm : 0)
  const numbers = { version, nameBytes: nameAsBytes.length, passwordBytes: password.length, flags }
  return Buffer.concat([Descriptor.toBuffer({ ...numbers, maxBytes: settings.maxBytes }), nameAsBytes, password])
}

/** Bytes behind the password are what an older, longer one left there.
 *  @throws FormatError; 0-db takes a short one for a new namespace, public and without password: that must not happen by a torn file */
export function decodeDescriptor(bytes: Buffer): ZdbDescriptor {
  if (bytes.length < Descriptor.sizeBytes) throw new FormatError(`the descriptor ends after ${bytes.length} bytes`)
  if (bytes.readUInt32LE(0) !== version)
    throw new FormatError(`the descriptor has version ${bytes.readUInt32LE(0)}, not ${version}`)
  const maxBytes = bytes.readBigUInt64LE(6)
  const { nameBytes, passwordBytes, flags } = {
    nameBytes: bytes[4]!,
    passwordBytes: bytes[5]!,
    flags: bytes[14]!,
  }
  const passwordAt = Descriptor.sizeBytes + nameBytes
  const password = bytes.subarray(passwordAt, passwordAt + passwordBytes)
  if (password.length < passwordBytes) throw new FormatError('the descriptor ends within its password')
  return {
    // 0-db takes "-1" for the largest number: no limit that could be reached.
    maxBytes: Number(maxBytes < BigInt(Number.MAX_SAFE_INTEGER) ? maxBytes : Number.MAX_SAFE_INTEGER),
    public: (flags & Flag.public) !== 0,
    worm: (flags & Flag.worm) !== 0,
    password: password.toString('latin1'),
  }
}
