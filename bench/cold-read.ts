import { randomBytes } from 'node:crypto'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { RespClient } from '@qsfs/resp/client'
import { RespError } from '@qsfs/resp/reply'
import { startQsfs } from '@qsfs/testkit/qsfs-instance'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { atMost, type Row, row } from './row.ts'

const valueBytes = 128 * 1024
const valueCount = 1_600 // 200 MiB through a cache of 96
const namespace = 'cold'

/** A GET of a value whose 8 MiB segment has left the disk, from the request to the reply: hook, retrieve, check, answer. */
export async function rows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using qsfs = await startQsfs(tmp.path, '[cachedb]\nsegment_bytes = "8MiB"\ncache_bytes = "96MiB"\n')
  const { address } = (await qsfs.status()).cachedb
  await using client = await RespClient.connect({ address })
  await client.call('NSNEW', namespace)
  await client.call('NSSET', namespace, 'mode', 'seq')
  await client.call('SELECT', namespace)
  for (let first = 0; first < valueCount; first += 16)
    await Promise.all(Array.from({ length: 16 }, () => insert(client)))
  await client.call('NSJUMP')
  const { namespaces } = await qsfs.waitFor(
    'the first segments have left',
    status =>
      status.allClosedStored &&
      status.namespaces.some(n => n.name === namespace && n.segments.filter(s => s.state === 'absent').length >= 9),
  )
  const absent = namespaces
    .find(n => n.name === namespace)!
    .segments.filter(s => s.state === 'absent')
    .slice(0, 9)

  const waitsMs: number[] = []
  // A segment takes values while header, entries and the next payload fit (18 + 8 bytes of header and key to an entry).
  const valuesPerSegment = Math.floor((8 * 1024 * 1024 - 28) / (valueBytes + 26))
  for (const segment of absent) {
    const key = Buffer.alloc(8)
    key.writeBigUInt64LE(BigInt(segment.id * valuesPerSegment))
    const startedMs = performance.now()
    const value = await client.call('GET', key)
    waitsMs.push(performance.now() - startedMs)
    if (!(value instanceof Buffer) || value.length !== valueBytes)
      throw new Error(`segment ${segment.id}: not the value written`)
  }
  waitsMs.sort((a, b) => a - b)
  return [
    row('a read that misses, 8 MiB segment, median of 9', waitsMs[4]!, 'ms', { target: atMost(400) }),
    row('the same, slowest of 9', waitsMs[8]!, 'ms'),
  ]
}

/** The cache is smaller than what is written: it says so until a store has made room. */
async function insert(client: RespClient): Promise<void> {
  const value = randomBytes(valueBytes)
  for (;;) {
    try {
      await client.call('SET', '', value)
      return
    } catch (error) {
      if (!(error instanceof RespError && error.message === ErrorText.fullWait)) throw error
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
}
