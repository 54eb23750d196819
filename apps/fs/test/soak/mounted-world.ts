import assert from 'node:assert'
import { systemClock } from '@qsfs/concurrency/clock'
import { RespClient } from '@qsfs/resp/client'
import { silentLog } from '@qsfs/telemetry/log'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { fsck } from '../../src/fsck/fsck.ts'
import { CachedbOnlooker } from '../../src/fsck/view/onlooker.ts'
import { RecordSnapshot } from '../../src/fsck/view/record-snapshot.ts'
import { Stack } from '../stack.ts'
import { step } from './actor.ts'
import { History } from './history.ts'
import { type Operation, randomOperation } from './model.ts'
import { MountedActor } from './mounted-actor.ts'

/** What programs see of a filesystem whose daemon is gone. */
const crashCodes = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO'])

/** One mounted filesystem through some lives, each ended by SIGKILL to fs, cachedb or both at any moment. After each, what is there is
 *  compared with the model and checked by fsck, before the mount and after it.
 *  @throws AssertionError at the first difference */
export async function runMountedWorld(
  seed: number,
  directory: string,
  { lives, lifeMs }: { readonly lives: number; readonly lifeMs: number },
): Promise<{ operations: number }> {
  const prng = prngFromSeed(seed)
  const history = new History()
  await using stack = await Stack.start(directory)
  const actor = new MountedActor(stack.mountpoint)
  let operations = 0
  let checks = 0
  const requireClean = async (when: string) => {
    const connect = ({ namespace }: { namespace?: string }) =>
      RespClient.connect({ address: stack.cachedbAddress, ...(namespace === undefined ? {} : { namespace }) })
    await using onlooker = await CachedbOnlooker.connect(connect, { data: 'data', meta: 'meta' })
    const snapshot = () => RecordSnapshot.create(directory, `scratch-${checks++}`)
    const { problems } = await fsck(onlooker, systemClock, silentLog, { snapshot, openStore: null, deep: false })
    assert.deepStrictEqual(problems, [], `${when}: fsck finds ${problems.length} problems`)
  }
  for (let life = 0; life < lives; life++) {
    const victims = prng.pick([['fs'], ['cachedb'], ['fs', 'cachedb'], ['cachedb', 'fs']] as const)
    const fsDies = (victims as readonly string[]).includes('fs')
    let isKilled = false
    let isOver = false
    const killing = new Promise(resolve => setTimeout(resolve, prng.below(lifeMs))).then(async () => {
      isKilled = true
      for (const victim of victims) await stack[victim].kill9()
      if (!fsDies) await stack.startCachedb()
      isOver = true
    })
    // Without an fs nothing is answered any more; without a cachedb all goes on when it is back.
    while (!isOver) {
      const isCrash = (error: unknown) => isKilled && fsDies && crashCodes.has((error as { code?: string }).code ?? '')
      operations++
      if (!(await step(history, actor, mountable(randomOperation(prng)), isCrash))) break
    }
    await killing
    if (!fsDies) {
      history.intact(await actor.look())
      await requireClean('with another cachedb')
      continue
    }
    if ((victims as readonly string[]).includes('cachedb')) await stack.startCachedb()
    await requireClean(`after kill -9 of ${victims.join(' and ')}`)
    await stack.startFs()
    history.crashed(await actor.look())
    await requireClean('after a mount')
  }
  assert.strictEqual(await stack.fs.stop(), 0, stack.fs.stderr)
  await requireClean('after an unmount')
  await stack.startFs()
  history.intact(await actor.look())
  return { operations }
}

/** Node has no renameat2(2), and a link that leads somewhere would be followed in the middle of a path. */
function mountable(operation: Operation): Operation {
  if (operation.name === 'rename') return { ...operation, flags: 0 }
  if (operation.name === 'symlink') return { ...operation, second: `nowhere/${operation.second}` }
  return operation
}
