import assert from 'node:assert'
import { StorError } from '../../src/errors.ts'
import { idsOfRuns } from '../../src/pipeline/shard-writer.ts'
import { until } from '../store-fixture.ts'
import type { House } from './house.ts'

/** Stor dies at its first request to a backend, at its second, and so on until a store goes through: from there on nothing of
 *  it reaches any backend, the one under way included. Then it is started again. */
export const diesAtEachStep = (which: 'even' | 'odd') => async (house: House) => {
  await house.mustStore('/base')
  let diedCount = 0
  for (let step = which === 'even' ? 0 : 1; ; step += 2) {
    const requests = { left: step }
    await house.stop()
    await house.start({ gate: deadAfter(requests) })
    // What the start itself asks for is not counted.
    requests.left = step
    const error = await house.store('/crashed')
    const died = requests.left < 0
    await house.stop()
    await house.start()
    await house.assertNothingLost(`after stor died at request ${step}`)
    if (error !== null) await assertWholeOrAbsent(house, step)
    if (error === null && !died) break
    if (died) diedCount++
    // Too slow a machine is no death: the same step again.
    else step -= 2
  }
  assert.ok(diedCount > 8, `${diedCount} places to die at`)
  await house.mustStore('/crashed')
  await house.restart()
  await house.assertMendable()
  await assertNoOrphans(house)
}

function deadAfter(requests: { left: number }) {
  return () => {
    if (requests.left-- <= 0) throw new StorError('unavailable', 'stor is dead')
  }
}

/** What was not acknowledged is there with all its bytes, or not at all. */
async function assertWholeOrAbsent(house: House, step: number): Promise<void> {
  try {
    const bytes = await house.retrieve('/crashed')
    assert.ok(
      house.sent('/crashed').some(sent => sent.equals(bytes)),
      `half of it after request ${step}`,
    )
  } catch (error) {
    if (!(error instanceof StorError)) throw error
    assert.strictEqual(error.reason, 'not-found', `after request ${step}: ${error.message}`)
  }
}

/** What uploads left that died goes when no upload can be under way any more. */
async function assertNoOrphans(house: House): Promise<void> {
  await until(async () => (await house.status()).repair!.orphans.youngCount > 0)
  await house.stop()
  await house.start({ orphanGraceMs: 0 })
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
