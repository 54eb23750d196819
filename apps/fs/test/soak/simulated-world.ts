import assert from 'node:assert'
import { FuseError } from '@qsfs/fuse/errno'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Driver } from '../driver.ts'
import { check } from '../fsck-world.ts'
import { PowerCut, SimulatedDisk, SimulatedStore } from '../simulated-disk.ts'
import { step } from './actor.ts'
import { DriverActor } from './driver-actor.ts'
import { History } from './history.ts'
import { randomOperation } from './model.ts'

/** Small caches: records and blocks leave memory and come back. */
const limits = { dirtyBytesMax: 1024 * 1024, blockCacheBytesMax: 256 * 1024, recordBytesMax: 8 * 1024 }

/** One filesystem on a simulated disk through some lives, each ended by a crash of the process or of the machine; after each, what is
 *  there is compared with the model and checked by fsck.
 *  @throws AssertionError at the first difference */
export async function runSimulatedWorld(
  seed: number,
  directory: string,
  { lives, steps }: { readonly lives: number; readonly steps: number },
): Promise<{ operations: number }> {
  const prng = prngFromSeed(seed)
  const disk = new SimulatedDisk()
  const history = new History()
  let operations = 0
  for (let life = 0; life < lives; life++) {
    disk.stepsLeft = prng.chance(0.8) ? prng.below(400) : Number.POSITIVE_INFINITY
    let driver: Driver | null = null
    try {
      driver = await Driver.mount(new SimulatedStore(disk), limits)
      const actor = new DriverActor(driver)
      for (let at = 0; at < steps; at++, operations++) {
        if (prng.chance(0.05)) driver.volume.records.trim()
        // Time for what goes on in the background.
        if (prng.chance(0.05)) await new Promise(resolve => setTimeout(resolve, prng.below(20)))
        if (!(await step(history, actor, randomOperation(prng), isCrash))) break
      }
    } catch (error) {
      if (!isCrash(error)) throw error
    }
    disk.crash(prng)
    await requireClean(disk, directory, 'after the crash')
    // The driver of the life before may still be at it: the disk listens to it no more.
    await driver?.[Symbol.asyncDispose]().catch(() => undefined)
    {
      await using fresh = await Driver.mount(new SimulatedStore(disk), limits)
      history.crashed(await new DriverActor(fresh).look())
    }
    await requireClean(disk, directory, 'after a mount')
  }
  return { operations }
}

async function requireClean(disk: SimulatedDisk, directory: string, when: string): Promise<void> {
  // Before the first mount got through there is nothing to check.
  if (disk.liveRecords().size === 0) return
  const { problems } = await check(disk, directory)
  assert.deepStrictEqual(problems, [], `${when}: fsck finds ${problems.length} problems`)
}

function isCrash(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof PowerCut) return true
  return error instanceof FuseError && error.message.includes('the power failed')
}
