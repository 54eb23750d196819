import { randomFillSync } from 'node:crypto'
import { ReedSolomon } from './reed-solomon.ts'

/** Bytes of data encoded per second on the calling thread: 1 MiB frames, best of several rounds of about 100 ms, which
 *  leaves out what else the machine does. */
export function measureEncode(dataShards: number, parityShards: number, rounds = 5): number {
  const code = new ReedSolomon(dataShards, parityShards)
  const shardBytes = Math.floor(2 ** 20 / dataShards)
  const shards = Array.from({ length: code.totalShards }, () => randomFillSync(new Uint8Array(shardBytes)))
  let best = 0
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now()
    let encodedBytes = 0
    while (performance.now() - startMs < 100) {
      code.encode(shards)
      encodedBytes += dataShards * shardBytes
    }
    best = Math.max(best, (encodedBytes * 1000) / (performance.now() - startMs))
  }
  return best
}
