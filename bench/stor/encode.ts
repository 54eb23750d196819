import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { Backend } from '../../apps/stor/src/backend/backend.ts'
import type { Job, JobResult } from '../../apps/stor/src/pipeline/frame-jobs.ts'
import { FramePool } from '../../apps/stor/src/pipeline/frame-pool.ts'
import { type CodingPool, FrameSender } from '../../apps/stor/src/pipeline/frame-sender.ts'
import { ShardWriter } from '../../apps/stor/src/pipeline/shard-writer.ts'
import { openSource } from '../../apps/stor/src/segment-file.ts'
import { middle } from '../middle.ts'
import { atLeast, type Row, row } from '../row.ts'
import { writeRandomFile } from './files.ts'

const fileBytes = 2 ** 30
const frameBytes = 2 ** 20
const dataShards = 4
const totalShards = 6
const rounds = 3

/** How a round encodes. */
interface Pipeline {
  readonly verifyFrames: boolean
  readonly compress: boolean
  /** SHA-256 of the file, as every store takes it beside the coding. */
  readonly digest: boolean
}

const pipelines: readonly (readonly [name: string, pipeline: Pipeline, targetMBps: number | null])[] = [
  ['encode pipeline 4+2, 1 GiB', { verifyFrames: false, compress: false, digest: false }, 700],
  ['the same, decoded again (the default)', { verifyFrames: true, compress: false, digest: false }, 500],
  ['encode with compression tried and SHA-256', { verifyFrames: false, compress: true, digest: true }, null],
  ['the same, decoded again (all that a store does)', { verifyFrames: true, compress: true, digest: true }, null],
]

/** A file from the page cache through the workers to six shard writers whose backends throw everything away: reading, AES-GCM, parity,
 *  a MAC per piece; with and without decoding each frame again; and with the rest of what a store does, compression tried and found
 *  useless and the digest of the file. */
export async function encodeRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  const path = join(tmp.path, 'random')
  await writeRandomFile(path, fileBytes)
  await using pool = new FramePool()
  const measured = pipelines.map(() => [] as number[])
  await encode(pool, path, { verifyFrames: true, compress: true, digest: true })
  for (let round = 0; round < rounds; round++) {
    for (const [index, [, pipeline]] of pipelines.entries()) measured[index]!.push(await encode(pool, path, pipeline))
  }
  return pipelines.map(([name, , targetMBps], index) => {
    console.error(`bench: ${name}: ${measured[index]!.map(Math.round)} MB/s`)
    return row(name, middle(measured[index]!), 'MB/s', targetMBps === null ? {} : { target: atLeast(targetMBps) })
  })
}

/** @returns MB/s */
async function encode(pool: FramePool, path: string, { digest, ...coding }: Pipeline): Promise<number> {
  await using source = await openSource(path)
  const writers = Array.from({ length: totalShards }, (_, i) => new ShardWriter(i, new NullBackend(), { away: false }))
  const keys = { objectId: randomBytes(16), framesKey: randomBytes(32), piecesKey: randomBytes(32) }
  const sender = new FrameSender(digest ? pool : undigested(pool), writers, {
    ...{ keys, dataShards, frameBytes, ...coding, signal: undefined },
    shardHeader: () => Buffer.alloc(0),
    assertUseful: () => undefined,
    onSent: () => undefined,
  })
  const startMs = performance.now()
  await sender.send(source, { attachment: false })
  return fileBytes / 1e3 / (performance.now() - startMs)
}

/** The pool without its digests. */
function undigested(pool: FramePool): CodingPool {
  const none = { sha256: new Uint8Array(32), blake2b: null }
  return {
    encodeSlots: pool.encodeSlots,
    nextStream: () => pool.nextStream(),
    run: async <J extends Job>(job: J) =>
      (job.kind === 'encode' ? await pool.run(job) : job.kind === 'digest-end' ? none : null) as JobResult<J>,
  }
}

/** Takes everything and keeps nothing. */
class NullBackend implements Backend {
  readonly name = 'null'
  #nextId = 0

  async put(): Promise<number> {
    return this.#nextId++
  }

  async get(): Promise<Buffer> {
    throw new Error('nothing was kept')
  }

  async remove(): Promise<void> {}

  async *list(): AsyncIterable<readonly number[]> {}

  async stat() {
    return { valueCount: 0, usedBytes: 0, freeBytes: null, durability: 'unknown' as const }
  }

  async sync(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}
}
