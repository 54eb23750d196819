import { measureEncode } from '@qsfs/erasure/bench'
import type { Row } from './row.ts'

/** The erasure kernel on one thread, in GB of data per second. */
export async function rows(): Promise<Row[]> {
  return [encodeRow(4, 2, 2), encodeRow(16, 4, null)]
}

function encodeRow(dataShards: number, parityShards: number, targetGBps: number | null): Row {
  const value = measureEncode(dataShards, parityShards) / 1e9
  return {
    name: `erasure encode ${dataShards}+${parityShards}, one thread`,
    value: Number(value.toFixed(2)),
    unit: 'GB/s',
    against: null,
    ratio: null,
    target: targetGBps === null ? null : `>= ${targetGBps} GB/s`,
    met: targetGBps === null ? null : value >= targetGBps,
  }
}
