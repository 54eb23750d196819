/** `pnpm bench:cachedb [--json] [part…]`: cachedb beside Debian's redis-server on the same disk, taking turns; then what it promises of
 *  memory, start-up and isolation. Prints one table or one JSON array on stdout, progress on stderr. */
import { isolationRows } from './cachedb/isolation.ts'
import { keyRows } from './cachedb/keys.ts'
import { throughputRows } from './cachedb/throughput.ts'
import { runParts } from './run-parts.ts'

await runParts({ throughput: throughputRows, keys: keyRows, isolation: isolationRows })
