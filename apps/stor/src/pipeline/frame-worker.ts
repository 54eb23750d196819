import { parentPort } from 'node:worker_threads'
import { releaseMemory } from '@qsfs/bytes/release'
import { SimdKernel } from '@qsfs/erasure/kernel'
import { type MaybeShard, ReedSolomon } from '@qsfs/erasure/reed-solomon'
import type { FrameEntry } from '../metadata/object-record.ts'
import { readFully, writeFully } from '../segment-file.ts'
import { cutPieces, decodeFrame, encodeFrame, verifyFrame } from './frame.ts'
import type { DecodeJob, EncodeJob } from './frame-jobs.ts'
import { shardBytesOf } from './piece.ts'
import { answerJobs } from './worker-answers.ts'

/** Runs in a worker thread: one frame at a time, so everything here may block. */
const kernel = new SimdKernel()
const codecs = new Map<string, ReedSolomon>()

answerJobs(parentPort!, async job => {
  if (job.kind === 'encode') return encode(job)
  if (job.kind === 'decode') return decode(job)
  throw new TypeError(`a frame worker was asked to ${job.kind}`)
})

function encode(job: EncodeJob): FrameEntry {
  const { fd, positionBytes, plainBytes, plainAtBytes, place } = job
  const codec = codecOf(job.dataShards, job.totalShards)
  const slot = Buffer.from(job.slot)
  const plain = slot.subarray(plainAtBytes, plainAtBytes + plainBytes)
  readFully(fd, plain, positionBytes)
  const keys = receivedKeys(job.keys)
  const pieces = slot.subarray(0, plainAtBytes)
  const entry = encodeFrame(codec, keys, place, plain, pieces, { compress: job.compress })
  if (job.verify) verifyFrame(codec, keys, place, entry, plain, pieces)
  return entry
}

function decode({ entry, shardIndexes, slot, target, keys, place, ...shape }: DecodeJob): null {
  const codec = codecOf(shape.dataShards, shape.totalShards)
  const shards: MaybeShard[] = Array.from({ length: shape.totalShards }, () => null)
  const present = cutPieces(Buffer.from(slot), shardIndexes.length, shardBytesOf(entry.sealedBytes, shape.dataShards))
  shardIndexes.forEach((shardIndex, at) => {
    shards[shardIndex] = present[at]!
  })
  const parts: Buffer[] = []
  decodeFrame(codec, receivedKeys(keys), place, entry, shards, part => parts.push(part))
  const plain = Buffer.from(slot, 0, entry.plainBytes)
  let atBytes = 0
  // Only now: the shards lie where the plain bytes go.
  for (const part of parts) {
    part.copy(plain, atBytes)
    atBytes += part.length
    releaseMemory(part)
  }
  if (target !== null) writeFully(target.fd, plain, target.positionBytes)
  return null
}

/** Buffers arrive as plain Uint8Arrays. */
function receivedKeys(keys: EncodeJob['keys']): EncodeJob['keys'] {
  return { ...keys, objectId: Buffer.from(keys.objectId) }
}

function codecOf(dataShards: number, totalShards: number): ReedSolomon {
  const name = `${dataShards} of ${totalShards}`
  const codec = codecs.get(name) ?? new ReedSolomon(dataShards, totalShards - dataShards, kernel)
  codecs.set(name, codec)
  return codec
}
