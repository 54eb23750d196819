import { createHmac, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { KeyError } from './errors.ts'
import type { RandomBytes, Secret } from './secret.ts'

/** Byte offsets of a sealed box, docs/formats/keys.md; the sealed bytes reach from `sealed` to the checksum. */
const at = { version: 0, keyId: 4, commitment: 8, nonce: 40, sealed: 64 } as const
const version = 1
const tagBytes = 16
const checksumBytes = 4

/** A box is this much longer than what it holds. */
export const boxOverheadBytes = at.sealed + tagBytes + checksumBytes

/** Seals a small value: XChaCha20-Poly1305 under a random nonce, with a commitment to the key (AEAD alone has none) and
 *  a checksum, so that a wrong key and damaged bytes are told apart.
 *  @param keyId tells the reader which of its keys to try
 *  @param context what the box is and belongs to; opening needs the same */
export function sealBox(
  key: Secret,
  keyId: number,
  plain: Uint8Array,
  context: Uint8Array,
  random: RandomBytes,
): Buffer {
  const box = Buffer.alloc(plain.length + boxOverheadBytes)
  box.writeUInt32LE(version, at.version)
  box.writeUInt32LE(keyId, at.keyId)
  const nonce = random(at.sealed - at.nonce)
  box.set(nonce, at.nonce)
  box.set(commitmentTo(key, keyId, nonce), at.commitment)
  box.set(xchacha20poly1305(key.expose(), nonce, associatedData(keyId, context)).encrypt(plain), at.sealed)
  const checksumAt = box.length - checksumBytes
  box.writeUInt32LE(crc32(box.subarray(0, checksumAt)), checksumAt)
  return box
}

/** The key id of a box whose checksum holds.
 *  @throws KeyError 'damaged' */
export function boxKeyId(box: Buffer): number {
  if (box.length < boxOverheadBytes) throw new KeyError('damaged', `a sealed box of ${box.length} bytes is cut short`)
  const checksumAt = box.length - checksumBytes
  if (box.readUInt32LE(checksumAt) !== crc32(box.subarray(0, checksumAt))) {
    throw new KeyError('damaged', 'a sealed box is damaged: its checksum does not hold')
  }
  const found = box.readUInt32LE(at.version)
  if (found !== version)
    throw new KeyError('damaged', `a sealed box has version ${found}, this program reads ${version}`)
  return box.readUInt32LE(at.keyId)
}

/** @throws KeyError 'wrong-key' when another key sealed it, 'damaged' when its bytes or its context are not the sealed ones */
export function openBox(key: Secret, box: Buffer, context: Uint8Array): Buffer {
  const keyId = boxKeyId(box)
  const nonce = box.subarray(at.nonce, at.sealed)
  if (!timingSafeEqual(commitmentTo(key, keyId, nonce), box.subarray(at.commitment, at.nonce))) {
    throw new KeyError('wrong-key', 'this was sealed under another key')
  }
  try {
    const cipher = xchacha20poly1305(key.expose(), nonce, associatedData(keyId, context))
    return Buffer.from(cipher.decrypt(box.subarray(at.sealed, box.length - checksumBytes)))
  } catch (cause) {
    throw new KeyError('damaged', 'a sealed box fails its authentication', { cause })
  }
}

/** Includes the nonce, so that boxes of one key cannot be recognised as such. */
function commitmentTo(key: Secret, keyId: number, nonce: Uint8Array): Buffer {
  return createHmac('sha256', key.derive('qsfs 1 commitment').expose()).update(`${keyId} `).update(nonce).digest()
}

function associatedData(keyId: number, context: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`qsfs 1 box ${keyId} `), context])
}
