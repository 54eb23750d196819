import { askControl } from '@qsfs/daemon/control'
import type { CheckResult, StatusResult } from '@qsfs/protocol/stor-control'

/** On how many locations the thinnest of some objects is, and how many of these may be lost. */
export interface Margin {
  readonly confirmed: number
  readonly wanted: number
  readonly survives: number
}

/** What stor may take to answer: nobody waits longer for a word about a file. */
const answerWithinMs = 5000
const questionsInFlight = 16
/** More are not asked for one by one. */
const objectsMax = 256

/** The margin of the thinnest of these objects, by stor's control socket.
 *  @throws when it does not answer, or not in time */
export async function marginOf(storSocket: string, objectIds: ReadonlySet<string>): Promise<Margin> {
  const signal = AbortSignal.timeout(answerWithinMs)
  const { k, n, thinObjectCount } = (await askControl(storSocket, 'status', {}, { signal })) as StatusResult
  const whole = { confirmed: n, wanted: n, survives: n - k }
  // As a rule every object is whole, and nobody has to be asked.
  if (thinObjectCount === 0) return whole
  let thinnest = whole
  const ids = [...objectIds].slice(0, objectsMax)
  for (let at = 0; at < ids.length; at += questionsInFlight) {
    const some = ids.slice(at, at + questionsInFlight)
    const answers = await Promise.all(
      some.map(objectId => askControl(storSocket, 'check', { objectId, checksum: false }, { signal })),
    )
    for (const { found, shardsConfirmed, shardCount } of answers as CheckResult[]) {
      const survives = found ? shardsConfirmed - k : -1
      if (survives < thinnest.survives) thinnest = { confirmed: shardsConfirmed, wanted: shardCount, survives }
    }
  }
  return thinnest
}
