import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { createBLAKE2b } from 'hash-wasm'
import { readFully } from '../segment-file.ts'
import type { AnyResult, DigestFileJob, DigestPartJob, Digests, Job } from './frame-jobs.ts'
import { answerJobs } from './worker-answers.ts'

/** Runs in a worker thread of its own: digests need bytes in order, coding does not. */
interface Hashers {
  /** How often `update` was called. */
  readonly partCount: number
  update(bytes: Uint8Array): void
  digests(): Digests
}

const readBytes = 1024 * 1024
const streams = new Map<number, Promise<Hashers>>()

answerJobs(parentPort!, async (job: Job): Promise<AnyResult> => {
  switch (job.kind) {
    case 'digest-file':
      return digestFile(job)
    case 'digest-part':
      return digestPart(job)
    case 'digest-end': {
      const hashers = await streams.get(job.stream)
      streams.delete(job.stream)
      assertParts(hashers, job.stream, job.partCount)
      return hashers.digests()
    }
    default:
      throw new TypeError(`the digest worker was asked to ${job.kind}`)
  }
})

/** Parts of one stream take effect in the order they were sent: all wait for the same promise. */
async function digestPart({ stream, partNumber, blake2b, slot, ...part }: DigestPartJob): Promise<null> {
  if (partNumber === 0) streams.set(stream, newHashers(blake2b))
  const hashers = await streams.get(stream)
  // Checked and updated without a wait between: the next part, which waited for the same promise, comes right after.
  assertParts(hashers, stream, partNumber)
  hashers.update(Buffer.from(slot, part.atBytes, part.lengthBytes))
  return null
}

function assertParts(hashers: Hashers | undefined, stream: number, partCount: number): asserts hashers is Hashers {
  if (hashers?.partCount !== partCount) throw new Error(`stream ${stream} of digests lost a part before ${partCount}`)
}

/** Files and streams take turns, a buffer each. */
async function digestFile({ fd, sizeBytes }: DigestFileJob): Promise<Digests> {
  const hashers = await newHashers(false)
  const buffer = Buffer.alloc(Math.min(readBytes, sizeBytes))
  for (let atBytes = 0; atBytes < sizeBytes; atBytes += readBytes) {
    const part = buffer.subarray(0, Math.min(readBytes, sizeBytes - atBytes))
    readFully(fd, part, atBytes)
    hashers.update(part)
    await new Promise(resolve => setImmediate(resolve))
  }
  return hashers.digests()
}

async function newHashers(blake2b: boolean): Promise<Hashers> {
  const sha256 = createHash('sha256')
  // zstor's: the parameterised 16-byte BLAKE2b, not a cut 64-byte one, which is all node has.
  const blake = blake2b ? (await createBLAKE2b(128)).init() : null
  let partCount = 0
  return {
    get partCount() {
      return partCount
    },
    update(bytes) {
      partCount++
      sha256.update(bytes)
      blake?.update(bytes)
    },
    digests: () => ({ sha256: sha256.digest(), blake2b: blake?.digest('binary') ?? null }),
  }
}
