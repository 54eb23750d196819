import { join } from 'node:path'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Namespace } from '../src/engine/namespace.ts'
import { DiskStorage } from '../src/segment/disk-storage.ts'
import { engineContext, settingsOf } from './engine-fixture.ts'

/** A program for tests to kill: appends values for ever, saying how many were answered. */
const directory = process.argv[2]!
const context = engineContext(new DiskStorage(), prngFromSeed(Date.now() % 2 ** 32), { segmentBytesMax: 20_000 })
const namespace = await Namespace.open(
  'ns',
  join(directory, 'ns'),
  settingsOf('sequential'),
  { pinned: false },
  context,
)
for (;;) {
  const id = namespace.info().nextId
  namespace.put(Buffer.alloc(0), Buffer.from(`value ${id} ${'x'.repeat(id % 500)}`))
  process.stdout.write(`${id + 1}\n`)
  if (id % 50 === 0) await namespace.sync()
  else if (id % 7 === 0) await new Promise(resolve => setImmediate(resolve))
}
