/** `pnpm bench:stor [--json] [part…]`: what stor must reach, docs/benchmarks.md. Prints one table or one JSON array on stdout, progress on
 *  stderr. */
import { runParts } from './run-parts.ts'
import { encodeRows } from './stor/encode.ts'
import { faultRows } from './stor/faults.ts'
import { rangeRows } from './stor/range.ts'
import { transferRows } from './stor/transfer.ts'

await runParts({ encode: encodeRows, transfer: transferRows, faults: faultRows, range: rangeRows })
