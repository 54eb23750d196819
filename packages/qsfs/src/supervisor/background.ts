import { writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import type { Log } from '@qsfs/telemetry/log'

/** Enough that uploads leave the processor to whoever writes to the mount, little enough that a cold read gets through on a
 *  busy machine. Measured: docs/decisions.md. */
export const backgroundNice = 10

/** Lets a daemon stand behind those that people wait for.
 *
 *  Each daemon has a session of its own, and where Linux shares the processor out by session (autogroup) only the nice
 *  value of the group counts between two of them; elsewhere that of the process does. Linux lets an unprivileged user
 *  change one group in 100 ms: what is refused costs speed, nothing else. */
export function moveToBackground(pid: number, log: Log): void {
  try {
    // Right after its start: the threads it makes inherit it.
    setPriority(pid, backgroundNice)
    writeFileSync(`/proc/${pid}/autogroup`, String(backgroundNice))
  } catch (error) {
    log.debug('daemon.not_in_background', { error })
  }
}
