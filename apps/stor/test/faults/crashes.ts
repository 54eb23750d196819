import assert from 'node:assert'
import { StorError } from '../../src/errors.ts'
import { idsOfRuns } from '../../src/pipeline/shard-writer.ts'
import { type House, until } from './house.ts'

/** Nobody dies any more. A backend that is called down while orphans are swept, because the machine is slow, is swept again
 *  a day later. */
const PATIENT = { backendTimeoutMs: 60_000, downAfterMs: 60_000 }

/** Stor dies at its first request to a backend, at its second, and so on until a store goes through: from there on nothing of
 *  it reaches any backend, the one under way included. Then it is started again.
 *  @param name what is stored: `/replaced` stands for something before */
export const diesAtEachStep = (which: 'even' | 'odd', name: '/new' | '/replaced') => async (house: House) => {
  await house.mustStore('/base')
  const requests = { left: Number.POSITIVE_INFINITY }
  const restart = async () => {
    requests.left = Number.POSITIVE_INFINITY
    await house.stop()
    await house.start({ gate: deadAfter(requests) })
  }
  await restart()
  if (name === '/replaced') await house.mustStore(name)
  // A store that was not acknowledged may be there all the same: from here on it is looked at by `atLeast`.
  house.forget(name)
  let diedCount = 0
  let found = name === '/replaced' ? 0 : -1
  for (let step = which === 'even' ? 0 : 1; ; step += 2) {
    // What the start itself asks for is not counted.
    requests.left = step
    const error = await house.store(name)
    const died = requests.left < 0
    if (error === null && !died) break
    if (error !== null) house.forget(name)
    await restart()
    await house.assertNothingLost(`after stor died at request ${step}`)
    found = await atLeast(house, name, found, step)
    if (died) diedCount++
    // Too slow a machine is no death: the same step again.
    else step -= 2
  }
  assert.ok(diedCount > 8, `${diedCount} places to die at`)
  await house.stop()
  await house.start(PATIENT)
  await house.assertMendable()
  await assertNoOrphans(house)
}

function deadAfter(requests: { left: number }) {
  return () => {
    if (requests.left-- <= 0) throw new StorError('unavailable', 'stor is dead')
  }
}

/** What was not acknowledged is there with all its bytes, or what stood there before is: never anything older than that.
 *  @param oldest which of all that was sent under the name; -1: nothing may be there, too
 *  @returns which it is */
async function atLeast(house: House, name: string, oldest: number, step: number): Promise<number> {
  let index = -1
  try {
    const bytes = await house.retrieve(name)
    index = house.sent(name).findIndex(sent => sent.equals(bytes))
    assert.notStrictEqual(index, -1, `half of it after request ${step}`)
  } catch (error) {
    if (!(error instanceof StorError)) throw error
    assert.strictEqual(error.reason, 'not-found', `after request ${step}: ${error.message}`)
  }
  assert.ok(index >= oldest, `${name} is what it was ${oldest - index} stores ago, or gone, after request ${step}`)
  return index
}

/** What uploads left that died goes when no upload can be under way any more. */
async function assertNoOrphans(house: House): Promise<void> {
  await until(async () => (await house.status()).repair!.orphans.youngCount > 0)
  await house.stop()
  await house.start({ ...PATIENT, orphanGraceMs: 0 })
  await until(async () => (await house.status()).repair!.orphans.removedCount > 0)
  await until(async () => {
    const named = new Set<string>()
    for (const { shards } of await house.records()) {
      for (const { backend, runs } of shards) for (const id of idsOfRuns(runs)) named.add(`${backend} ${id}`)
    }
    for (const { backend } of house.runtime.fleet.data) {
      for await (const ids of backend.list()) if (ids.some(id => !named.has(`${backend.name} ${id}`))) return false
    }
    return true
  })
}
