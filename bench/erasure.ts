import { measureEncode } from '@qsfs/erasure/bench'
import { atLeast, type Row, row } from './row.ts'

/** The erasure kernel on one thread, in GB of data per second. */
export async function rows(): Promise<Row[]> {
  return [
    row('erasure encode 4+2, one thread', measureEncode(4, 2) / 1e9, 'GB/s', { target: atLeast(2) }),
    row('erasure encode 16+4, one thread', measureEncode(16, 4) / 1e9, 'GB/s'),
  ]
}
