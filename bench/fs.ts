/** `pnpm bench:fs [--json] [part…]`: the whole of qsfs beside gocryptfs and the disk below, taking turns; its streams beside what
 *  cachedb takes without FUSE; and a filesystem of a million files. */

import { millionRows } from './fs/million.ts'
import { streamRows } from './fs/stream.ts'
import { workloadRows } from './fs/workload.ts'
import { runParts } from './run-parts.ts'

await runParts({ workload: workloadRows, stream: streamRows, million: millionRows })
