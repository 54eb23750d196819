import { realpathSync } from 'node:fs'
import { relative } from 'node:path'
import { formatSize } from '@qsfs/bytes/units'
import { fromCaller } from '@qsfs/config/caller'
import { askControl, ControlError, ControlUnreachable } from '@qsfs/daemon/control'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { chosenState, runningInstance } from '../running.ts'
import { insideOf } from '../supervisor/mount-users.ts'
import type { StatusOptions } from './status.ts'

/** What fs answers to `state`. */
interface PathState {
  readonly state: string
  readonly blocks: string
  readonly counts: { readonly files: number; readonly directories: number; readonly bytes: number }
}

/** A walk over a large tree takes its time. */
const answerWithinMs = 600_000

/** `qsfs status PATH`: where the bytes of a file are, or those of everything below a directory.
 *  @throws ExpectedFailure when the path is not in the mount, or not there */
export async function pathStatus(typed: string, { state, json = false }: StatusOptions): Promise<void> {
  const path = withoutLinks(typed)
  const { mount, fsSocket } = runningInstance(chosenState(state, path))
  if (!insideOf(mount)(path)) throw new ExpectedFailure(2, `${typed} is not in the mount ${mount}`)
  const answer = await ask(fsSocket, relative(realpathSync(mount), path))
  process.stdout.write(json ? `${JSON.stringify(answer, null, 2)}\n` : forPeople(typed, answer))
}

/** @throws ExpectedFailure: there is no such file */
function withoutLinks(typed: string): string {
  try {
    return realpathSync(fromCaller(typed))
  } catch (cause) {
    throw new ExpectedFailure(1, `nothing is known of ${typed}: ${(cause as Error).message}`, { cause })
  }
}

async function ask(fsSocket: string, path: string): Promise<PathState> {
  try {
    return (await askControl(fsSocket, 'state', { path }, { signal: AbortSignal.timeout(answerWithinMs) })) as PathState
  } catch (cause) {
    if (cause instanceof ControlUnreachable) {
      throw new ExpectedFailure(1, `fs does not answer, it starts or ends; try again (${cause.message})`, { cause })
    }
    if (!(cause instanceof ControlError)) throw cause
    throw new ExpectedFailure(1, cause.message, { cause })
  }
}

function forPeople(typed: string, { state, blocks, counts }: PathState): string {
  const { files, directories, bytes } = counts
  const what = directories === 0 ? '' : `${files} files in ${directories} directories, ${formatSize(bytes)}\n`
  return `${typed}: ${state}\n${what}${blocks}\n`
}
