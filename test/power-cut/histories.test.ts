import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { createNamespaces } from '../../apps/fs/src/store/cachedb-session.ts'
import { CachedbStore } from '../../apps/fs/src/store/cachedb-store.ts'
import { impatientClock } from '../../apps/fs/test/impatient-clock.ts'
import { LogModel } from '../../apps/fs/test/log-model.ts'
import { quietLog } from './quiet-log.ts'
import { SimulatedCachedb } from './simulated-cachedb.ts'

const names = { data: 'data', meta: 'meta' }
const stepsPerHistory = 40
const historyCount = 400

/** The whole machine lost its power. */
class PowerFailed extends FuseError {}

test(`${historyCount} histories of the metadata log over cachedb's engine survive power cuts and kills at any operation`, async t => {
  const seeds = seededPrng(t)
  let startCount = 0
  const only = process.env.QSFS_HISTORY_SEED
  for (let i = 0; i < (only === undefined ? historyCount : 1); i++) {
    const seed = only === undefined ? seeds.below(2 ** 32) : Number(only)
    const prng = prngFromSeed(seed)
    const server = new SimulatedCachedb(prng)
    const finding = await runHistory(server, prng).catch(error => {
      throw new Error(`history with seed ${seed}`, { cause: error })
    })
    assert.equal(finding, null, `history with seed ${seed}: ${finding}`)
    startCount += server.startCount
  }
  t.diagnostic(`the server was started ${startCount} times`)
})

async function runHistory(server: SimulatedCachedb, prng: Prng): Promise<string | null> {
  let store: CachedbStore | null = null
  /** Operations on the disk until something happens. */
  let operationsLeft = Number.POSITIVE_INFINITY
  const hurt = () => {
    operationsLeft = prng.below(80)
    // The filesystem goes with the machine, or lives on over a server that was killed or lost its own machine.
    const choice = prng.below(3)
    if (choice === 0) server.downFor = new PowerFailed('EIO', 'the power failed')
    server.die(choice === 2 ? 'kill' : 'power cut')
  }
  server.onOperation = () => {
    if (--operationsLeft < 0) hurt()
  }
  const model = new LogModel(
    {
      async open() {
        server.downFor = null
        operationsLeft = prng.chance(0.8) ? prng.below(150) : Number.POSITIVE_INFINITY
        await createNamespaces(server.connect, names)
        store = await CachedbStore.open(server.connect, names, impatientClock, bytes => prng.bytes(bytes), quietLog)
        return store
      },
      async crash() {
        operationsLeft = Number.POSITIVE_INFINITY
        server.dropConnections()
        await store?.[Symbol.asyncDispose]()
        store = null
        if (prng.chance(0.5)) server.die(prng.pick(['kill', 'power cut']))
      },
      isCrash,
    },
    prng,
  )
  return model.run(stepsPerHistory)
}

/** How the death of a machine shows: in the store that cannot connect again, or in a connection that is just being made. */
function isCrash(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof PowerFailed || cause.name === 'ConnectionLost') return true
    if (cause.message.includes('the store is closed')) return true
  }
  return false
}
