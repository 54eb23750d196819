import { randomFillSync } from 'node:crypto'
import { BulkClient } from '@qsfs/resp/bulk-client'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { startQsfs } from '@qsfs/testkit/qsfs-instance'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middleBy } from '../middle.ts'
import { atLeastRatio, type Row, row } from '../row.ts'
import { figureOf, runFsbench } from './fsbench.ts'

const rounds = 5
const megabytes = (256 * 2 ** 20) / 1e6
/** As fs sends a stream: values of this size, so many under way. */
const blockBytes = 128 * 1024
const blockCount = (256 * 2 ** 20) / blockBytes
const blocksInFlight = 32

/** 256 MiB with an fsync through the mount, and as the same blocks with an FSYNC to the same cachedb, in turns; before each turn the
 *  segments of the one before have left. The row is the round with the middle ratio. */
export async function streamRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using qsfs = await startQsfs(tmp.path, '')
  const { cachedb } = await qsfs.status()
  await using client = await BulkClient.connect({ address: cachedb.address }, new BulkPool())
  await client.call('NSNEW', 'bare')
  await client.call('NSSET', 'bare', 'mode', 'seq')
  await client.call('SELECT', 'bare')
  const block = randomFillSync(Buffer.allocUnsafeSlow(blockCount * blockBytes))
  const measured: { mounted: number; bare: number }[] = []
  for (let round = 0; round < rounds; round++) {
    await qsfs.waitFor('all closed segments are stored', status => status.allClosedStored)
    const bare = megabytes / (await bareSeconds(client, block))
    await qsfs.waitFor('all closed segments are stored', status => status.allClosedStored)
    const mounted = figureOf(await runFsbench(['write_MBps'], { qsfs: qsfs.mount }), 'qsfs', 'write_MBps')
    console.error(`mounted ${mounted}, bare ${bare} MB/s`)
    measured.push({ mounted, bare })
  }
  const middle = middleBy(measured, round => round.mounted / round.bare)
  const against = { name: 'to cachedb without FUSE', value: middle.bare }
  return [row('streaming write of 256 MiB, synced', middle.mounted, 'MB/s', { against, target: atLeastRatio(0.7) })]
}

async function bareSeconds(client: BulkClient, bytes: Buffer): Promise<number> {
  const startedMs = performance.now()
  let next = 0
  const send = async (): Promise<void> => {
    while (next < blockCount) {
      const at = next++ * blockBytes
      await client.call('SET', '', bytes.subarray(at, at + blockBytes))
    }
  }
  await Promise.all(Array.from({ length: blocksInFlight }, send))
  await client.call('FSYNC', 'bare')
  return (performance.now() - startedMs) / 1000
}
