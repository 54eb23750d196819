import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { Backend } from '../../apps/stor/src/backend/backend.ts'
import { FramePool } from '../../apps/stor/src/pipeline/frame-pool.ts'
import { FrameSender } from '../../apps/stor/src/pipeline/frame-sender.ts'
import { ShardWriter } from '../../apps/stor/src/pipeline/shard-writer.ts'
import { openSource } from '../../apps/stor/src/segment-file.ts'
import { atLeast, type Row, row } from '../row.ts'
import { writeRandomFile } from './files.ts'
import { middle } from './middle.ts'

const fileBytes = 2 ** 30
const frameBytes = 2 ** 20
const dataShards = 4
const totalShards = 6
const rounds = 3

/** A file from the page cache through the workers to six shard writers whose backends throw everything away: reading, compression tried
 *  and found useless, AES-GCM, parity, a MAC per piece, SHA-256 of the file; with and without decoding each frame again. */
export async function encodeRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  const path = join(tmp.path, 'random')
  await writeRandomFile(path, fileBytes)
  await using pool = new FramePool()
  const plain: number[] = []
  const verified: number[] = []
  await encode(pool, path, { verifyFrames: true })
  for (let round = 0; round < rounds; round++) {
    plain.push(await encode(pool, path, { verifyFrames: false }))
    verified.push(await encode(pool, path, { verifyFrames: true }))
  }
  console.error(`bench: encode ${plain.map(Math.round)}, verified ${verified.map(Math.round)} MB/s`)
  return [
    row('encode pipeline 4+2, 1 GiB', middle(plain), 'MB/s', { target: atLeast(700) }),
    row('the same, decoded again (the default)', middle(verified), 'MB/s', { target: atLeast(500) }),
  ]
}

/** @returns MB/s */
async function encode(pool: FramePool, path: string, { verifyFrames }: { verifyFrames: boolean }): Promise<number> {
  await using source = await openSource(path)
  const writers = Array.from({ length: totalShards }, (_, i) => new ShardWriter(i, new NullBackend(), { away: false }))
  const keys = { objectId: randomBytes(16), framesKey: randomBytes(32), piecesKey: randomBytes(32) }
  const sender = new FrameSender(pool, writers, {
    ...{ keys, dataShards, frameBytes, verifyFrames, signal: undefined },
    shardHeader: () => Buffer.alloc(0),
    assertUseful: () => undefined,
    onSent: () => undefined,
  })
  const startMs = performance.now()
  await sender.send(source, { attachment: false })
  return fileBytes / 1e3 / (performance.now() - startMs)
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
