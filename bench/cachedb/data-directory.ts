import { setImmediate as turn } from 'node:timers/promises'
import { systemClock } from '@qsfs/concurrency/clock'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { type KeyMode, Namespace } from '../../apps/cachedb/src/engine/namespace.ts'
import { DiskStorage } from '../../apps/cachedb/src/segment/disk-storage.ts'
import { engineContext, settingsOf } from '../../apps/cachedb/test/engine-fixture.ts'

/** As a server's default. */
const segmentBytesMax = 32 * 1024 * 1024
const entriesPerTurn = 2_000

/** Makes the namespace `default` with `count` keys and all its segments closed, as a server leaves it: by the engine in this process,
 *  in a third of the time that a server takes.
 *  @param keyOf '' where ids are given */
export async function makeDefaultNamespace(
  directory: string,
  count: number,
  { mode, keyOf, value }: { mode: KeyMode; keyOf: (index: number) => string; value: Buffer },
): Promise<void> {
  const context = engineContext(new DiskStorage(), prngFromSeed(1), { clock: systemClock, segmentBytesMax })
  await using namespace = await Namespace.open('default', directory, settingsOf(mode), { pinned: false }, context)
  for (let index = 0; index < count; index++) {
    void namespace.putInBatch(Buffer.from(keyOf(index), 'latin1'), value)
    if (index % entriesPerTurn === 0) await turn()
  }
  namespace.jump()
  await namespace.sync()
}
