import { comparedRows } from './fs/workload.ts'
import type { Row } from './row.ts'

/** The rows of `pnpm bench:fs` that say most in the shortest time. */
export function rows(): Promise<Row[]> {
  return comparedRows(['write_MBps', 'read_cold_MBps', 'create2k'])
}
