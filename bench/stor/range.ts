import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { pieceBytesOf } from '../../apps/stor/src/pipeline/piece.ts'
import { atMostRatio, type Row, row } from '../row.ts'
import { Cluster } from './cluster.ts'
import { writeRandomFile } from './files.ts'

const fileBytes = 64 * 2 ** 20
const frameBytes = 2 ** 20
const tagBytes = 16
const dataShards = 4
const rangeBytes = 4096
const twoFramesBytes = 2 * dataShards * pieceBytesOf(frameBytes + tagBytes, dataShards)

const sumOf = (bytes: Map<unknown, number>) => bytes.values().reduce((sum, some) => sum + some, 0)

/** What `retrieve --range` of 4 KiB fetches, by stor's own count of the pieces it was given. */
export async function rangeRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using cluster = await Cluster.start(tmp.path)
  const [file, back] = [join(tmp.path, 'random'), join(tmp.path, 'back')]
  await writeRandomFile(file, fileBytes)
  await cluster.store(file, '/bench/range')
  const fetched = async (offsetBytes: number) => {
    const before = sumOf(await cluster.piecesRead())
    await cluster.retrieve(back, '/bench/range', { offsetBytes, lengthBytes: rangeBytes })
    return sumOf(await cluster.piecesRead()) - before
  }
  const inside = await fetched(10 * frameBytes + 1000)
  const across = await fetched(20 * frameBytes - rangeBytes / 2)
  assert(inside > 0 && across > inside, 'the metrics count pieces that were read')
  const bound = { against: { name: 'two frames', value: twoFramesBytes / 1024 }, target: atMostRatio(1) }
  return [
    row('retrieve --range of 4 KiB inside a frame: fetched', inside / 1024, 'KiB', bound),
    row('retrieve --range of 4 KiB across two frames: fetched', across / 1024, 'KiB', bound),
  ]
}
