/** `pnpm bench [--json] [part…]`: runs the parts named, or all, and prints one table or one JSON array on stdout.
 *  Progress goes to stderr. A part that fails is a row that falls short; the exit code is 1 when any row does. */
import { runParts } from './run-parts.ts'

await runParts({
  fuse: async () => (await import('./fuse.ts')).rows(),
  erasure: async () => (await import('./erasure.ts')).rows(),
  stor: async () => (await import('./stor/transfer.ts')).shortTransferRows(),
  filesystem: async () => (await import('./filesystem.ts')).rows(),
  'cold-read': async () => (await import('./cold-read.ts')).rows(),
  memory: async () => (await import('./memory.ts')).rows(),
})
