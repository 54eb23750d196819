import { deepEqual, equal, rejects } from 'node:assert/strict'
import { test } from 'node:test'
import { AdjacentReads, type VectorFile } from './adjacent-reads.ts'

const content = Buffer.from(Array.from({ length: 4_000 }, (_, at) => at % 251))

/** A file of `content` that notes what it is asked for; a call that touches `damagedAt` fails, each gives at most `callBytesMax`. */
function file({ damagedAt = Number.POSITIVE_INFINITY, callBytesMax = Number.POSITIVE_INFINITY } = {}) {
  const calls: { offsetBytes: number; lengths: number[] }[] = []
  const readable: VectorFile = {
    async readInto(buffers, offsetBytes) {
      calls.push({ offsetBytes, lengths: buffers.map(({ length }) => length) })
      const end = offsetBytes + buffers.reduce((sum, { length }) => sum + length, 0)
      if (offsetBytes <= damagedAt && damagedAt < end) throw new Error('damaged')
      const bytes = content.subarray(offsetBytes, Math.min(end, offsetBytes + callBytesMax))
      let at = 0
      for (const buffer of buffers) at += bytes.copy(buffer, 0, at)
      return bytes.length
    },
  }
  return { calls, reads: new AdjacentReads(readable) }
}

async function read(reads: AdjacentReads, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(lengthBytes)
  return buffer.subarray(0, await reads.fill(buffer, offsetBytes))
}

test('what lies next to each other is read by one call, in one turn', async () => {
  const { calls, reads } = file()
  const wanted = [100, 200, 300, 1_000, 1_100].map(offsetBytes => ({
    offsetBytes,
    bytes: read(reads, offsetBytes, 100),
  }))
  for (const { offsetBytes, bytes } of wanted) {
    deepEqual(await bytes, content.subarray(offsetBytes, offsetBytes + 100))
  }
  await read(reads, 1_200, 100)
  deepEqual(calls, [
    { offsetBytes: 100, lengths: [100, 100, 100] },
    { offsetBytes: 1_000, lengths: [100, 100] },
    { offsetBytes: 1_200, lengths: [100] },
  ])
})

test('one call reads at most 1 MiB', async () => {
  const { calls, reads } = file()
  await Promise.all([0, 1, 2, 3].map(index => read(reads, index * 400_000, 400_000)))
  deepEqual(
    calls.slice(0, 2).map(({ lengths }) => lengths.length),
    [2, 2],
  )
})

test('one call fills at most as many buffers as the kernel takes', async () => {
  const { calls, reads } = file()
  await Promise.all(Array.from({ length: 3_000 }, (_, offsetBytes) => read(reads, offsetBytes, 1)))
  deepEqual(
    calls.map(({ lengths }) => lengths.length),
    [1024, 1024, 952],
  )
})

test('a damaged place costs only those whose bytes it has', async () => {
  const { reads } = file({ damagedAt: 250 })
  const wanted = [100, 200, 300].map(offsetBytes => read(reads, offsetBytes, 100))
  const [before, damaged, behind] = wanted
  await rejects(damaged!, /damaged/)
  deepEqual(await before, content.subarray(100, 200))
  deepEqual(await behind, content.subarray(300, 400))
})

test('the end of the file, and calls that give less than there is', async () => {
  for (const callBytesMax of [7, 150, 10_000]) {
    const { reads } = file({ callBytesMax })
    const [whole, cut, none] = await Promise.all([3_800, 3_950, 4_100].map(offset => read(reads, offset, 150)))
    deepEqual(whole, content.subarray(3_800, 3_950))
    deepEqual(cut, content.subarray(3_950))
    equal(none!.length, 0)
  }
})
