import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { crc32 } from 'node:zlib'
import { createBLAKE2b } from 'hash-wasm'
import { frameCountOf, plainBytesOf } from '../metadata/object-record.ts'
import { readFully } from '../segment-file.ts'
import type { DigestJob, Digests } from './frame-jobs.ts'
import { answerJobs } from './worker-answers.ts'

/** Runs in a worker thread of its own: digests need the file in order, frames do not. Files take turns, a frame each. */
answerJobs(parentPort!, async job => {
  if (job.kind === 'digest') return digest(job)
  throw new TypeError(`the digest worker was asked to ${job.kind}`)
})

async function digest({ fd, sizeBytes, frameBytes, blake2b }: DigestJob): Promise<Digests> {
  const sha256 = createHash('sha256')
  // zstor's: the parameterised 16-byte BLAKE2b, not a cut 64-byte one, which is all node has.
  const blake = blake2b ? (await createBLAKE2b(128)).init() : null
  const frameCrcs = new Uint32Array(frameCountOf(sizeBytes, frameBytes))
  const buffer = Buffer.alloc(Math.min(frameBytes, sizeBytes))
  for (let index = 0; index < frameCrcs.length; index++) {
    const frame = buffer.subarray(0, plainBytesOf(index, sizeBytes, frameBytes))
    readFully(fd, frame, index * frameBytes)
    sha256.update(frame)
    blake?.update(frame)
    frameCrcs[index] = crc32(frame)
    await new Promise(resolve => setImmediate(resolve))
  }
  return { sha256: sha256.digest(), blake2b: blake?.digest('binary') ?? null, frameCrcs }
}
