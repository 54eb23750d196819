import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { formatSize } from '@qsfs/bytes/units'
import { delay, systemClock } from '@qsfs/concurrency/clock'
import { askControl } from '@qsfs/daemon/control'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { connectCachedb, dispersalOf, viewNamespaces } from './cachedb-view.ts'
import { chosenState, runningInstance } from './running.ts'
import { say } from './terminal-log.ts'

export interface SyncOptions {
  readonly state?: string
  readonly wait?: boolean
}

/** Nothing moved for so long: something is wrong, and `qsfs status` says what. */
const progressWithinMs = 120_000

/** `qsfs sync`: writes back what the kernel and fs hold, closes the open segments, so that all of it goes to the backends.
 *  @throws ExpectedFailure when waiting and nothing was stored for two minutes */
export async function sync({ state, wait = false }: SyncOptions): Promise<void> {
  const instance = runningInstance(chosenState(state))
  // The kernel hands on what it holds, and does not tell fs that somebody waits.
  await promisify(execFile)('sync', ['--file-system', '--', instance.mount])
  await askControl(instance.fsSocket, 'sync', {}, { signal: AbortSignal.timeout(progressWithinMs) })
  await using client = await connectCachedb(instance.cachedb)
  for (const { name, segments } of await viewNamespaces(client)) {
    const hasOpenData = segments.some(({ state, liveBytes }) => state === 'open' && liveBytes > 0)
    if (!hasOpenData) continue
    await client.call('SELECT', name)
    await client.call('NSJUMP')
  }

  let leastBytes = Number.POSITIVE_INFINITY
  let progressMs = systemClock.monotonicMs()
  for (;;) {
    const { allClosedStored, closedBytes } = dispersalOf(await viewNamespaces(client))
    if (allClosedStored) return say('everything written is stored')
    if (!wait) return say(`${formatSize(closedBytes)} are on their way; \`qsfs sync --wait\` waits for them`)
    if (closedBytes < leastBytes) {
      leastBytes = closedBytes
      progressMs = systemClock.monotonicMs()
    }
    if (systemClock.monotonicMs() - progressMs > progressWithinMs) {
      throw new ExpectedFailure(
        1,
        `${formatSize(closedBytes)} are not stored and nothing moves; \`qsfs status\` says why`,
      )
    }
    await delay(systemClock, 200)
  }
}
