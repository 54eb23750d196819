import { createCipheriv, createDecipheriv } from 'node:crypto'
import { KeyError } from './errors.ts'

/** GCM's tag: what a sealed frame is longer than what it holds. */
export const tagBytes = 16
/** Length of the MAC of a piece. */
export const macBytes = 16

const algorithm = 'aes-256-gcm'

/** Seals one frame: AES-256-GCM, nonce = frame number, associated data = object id and frame number. The key belongs to
 *  one upload attempt, and a frame number is sealed once in it, so no nonce meets another plaintext.
 *  @param key 32 bytes
 *  @returns ciphertext, then tag, as two chunks */
export function sealFrame(
  key: Uint8Array,
  objectId: Uint8Array,
  frameNumber: number,
  plain: Uint8Array,
): [ciphertext: Buffer, tag: Buffer] {
  const cipher = createCipheriv(algorithm, key, frameNonce(frameNumber), { authTagLength: tagBytes })
  cipher.setAAD(frameContext(objectId, frameNumber))
  const ciphertext = cipher.update(plain)
  cipher.final()
  return [ciphertext, cipher.getAuthTag()]
}

/** @param sealed ciphertext and tag in one
 *  @throws KeyError 'damaged' when not exactly this frame of this object was sealed under this key */
export function openFrame(key: Uint8Array, objectId: Uint8Array, frameNumber: number, sealed: Uint8Array): Buffer {
  const plainBytes = sealed.length - tagBytes
  if (plainBytes < 0) throw new KeyError('damaged', `frame ${frameNumber} is cut short`)
  const decipher = createDecipheriv(algorithm, key, frameNonce(frameNumber), { authTagLength: tagBytes })
  decipher.setAAD(frameContext(objectId, frameNumber))
  decipher.setAuthTag(sealed.subarray(plainBytes))
  const plain = decipher.update(sealed.subarray(0, plainBytes))
  try {
    decipher.final()
  } catch (cause) {
    throw new KeyError('damaged', `frame ${frameNumber} fails its authentication`, { cause })
  }
  return plain
}

/** Authenticates one piece: GMAC, which is AES-256-GCM with the bytes as associated data and nothing to encrypt. The
 *  nonce, frame number and shard index, never meets other bytes: an object's ciphertext never changes.
 *  @param key 32 bytes, of this object's pieces only */
export function pieceMac(key: Uint8Array, frameNumber: number, shardIndex: number, bytes: Uint8Array): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32LE(frameNumber % 2 ** 32, 0)
  nonce.writeUInt32LE(Math.floor(frameNumber / 2 ** 32), 4)
  nonce.writeUInt32LE(shardIndex, 8)
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: macBytes })
  cipher.setAAD(bytes)
  cipher.final()
  return cipher.getAuthTag()
}

function frameNonce(frameNumber: number): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64LE(BigInt(frameNumber), 4)
  return nonce
}

function frameContext(objectId: Uint8Array, frameNumber: number): Buffer {
  const context = Buffer.alloc(objectId.length + 8)
  context.set(objectId)
  context.writeBigUInt64LE(BigInt(frameNumber), objectId.length)
  return context
}
