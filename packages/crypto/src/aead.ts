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
 *  @param parts of the plain frame, in order
 *  @param take gets the ciphertext of each part: what is small enough is still in the cache then
 *  @returns the tag */
export function sealFrame(
  key: Uint8Array,
  objectId: Uint8Array,
  frameNumber: number,
  parts: Iterable<Uint8Array>,
  take: (ciphertext: Buffer) => void,
): Buffer {
  const cipher = createCipheriv(algorithm, key, frameNonce(frameNumber), { authTagLength: tagBytes })
  cipher.setAAD(frameContext(objectId, frameNumber))
  for (const part of parts) take(cipher.update(part))
  cipher.final()
  return cipher.getAuthTag()
}

/** The inverse of sealFrame.
 *  @param parts of the ciphertext, in order
 *  @param take gets the plain bytes of each part; they are not to be trusted before this returns
 *  @throws KeyError 'damaged' when not exactly this frame of this object was sealed under this key */
export function openFrame(
  key: Uint8Array,
  objectId: Uint8Array,
  frameNumber: number,
  { parts, tag }: SealedFrame,
  take: (plain: Buffer) => void,
): void {
  const decipher = createDecipheriv(algorithm, key, frameNonce(frameNumber), { authTagLength: tagBytes })
  decipher.setAAD(frameContext(objectId, frameNumber))
  decipher.setAuthTag(tag)
  for (const part of parts) take(decipher.update(part))
  try {
    decipher.final()
  } catch (cause) {
    throw new KeyError('damaged', `frame ${frameNumber} fails its authentication`, { cause })
  }
}

export interface SealedFrame {
  readonly parts: readonly Uint8Array[]
  readonly tag: Uint8Array
}

/** Takes ciphertext ‖ tag, which lies in pieces, apart; what follows it is left.
 *  @throws KeyError 'damaged' when it is shorter than a tag */
export function cutSealed(pieces: readonly Uint8Array[], sealedBytes: number): SealedFrame {
  const ciphertextBytes = sealedBytes - tagBytes
  if (ciphertextBytes < 0) throw new KeyError('damaged', 'a frame is cut short')
  const parts: Uint8Array[] = []
  const tag = Buffer.alloc(tagBytes)
  let atBytes = 0
  for (const piece of pieces) {
    const left = ciphertextBytes - atBytes
    if (left > 0) parts.push(piece.subarray(0, left))
    // A tag may begin in one piece and end in the next.
    if (left < piece.length && left > -tagBytes) {
      tag.set(piece.subarray(Math.max(0, left), left + tagBytes), Math.max(0, -left))
    }
    atBytes += piece.length
  }
  return { parts, tag }
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
