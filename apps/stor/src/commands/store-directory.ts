import { basename, dirname, join } from 'node:path'
import type { QueuedResult, StoreResult } from '@qsfs/protocol/stor-control'
import { filesIn } from '../segment-file.ts'
import { WrongUsage } from './verbs.ts'

/** What became of one file. A file that is stored and could not be deleted, as it should have been, has both. */
export interface FileOutcome {
  readonly file: string
  readonly answer: StoreResult | QueuedResult | null
  readonly error: { readonly code: string; readonly message: string } | null
}

/** Stores the regular files of a directory, one after the other; the others too when one fails, unless told to stop.
 *  @param params of a store of the directory as if it were a file; `isKeyed`: its name is one in the directory of `-k`
 *  @returns null when it is no directory
 *  @throws WrongUsage */
export async function storeDirectory(
  params: Readonly<Record<string, unknown>>,
  ask: (params: Readonly<Record<string, unknown>>) => Promise<StoreResult | QueuedResult>,
  { stopAtFailure, isKeyed }: { readonly stopAtFailure: boolean; readonly isKeyed: boolean },
  onOutcome: (outcome: FileOutcome) => void,
): Promise<FileOutcome[] | null> {
  const files = await filesIn(String(params.file))
  if (files === null) return null
  if (params.attach !== undefined || (params.name !== undefined && !isKeyed)) {
    throw new WrongUsage('store: --name and --attach are for one file; a directory takes --key-path')
  }
  const outcomes: FileOutcome[] = []
  for (const file of files) {
    const name = isKeyed ? { name: join(dirname(String(params.name)), basename(file)) } : {}
    const outcome = await outcomeOf(file, ask({ ...params, ...name, file }))
    outcomes.push(outcome)
    onOutcome(outcome)
    if (outcome.error !== null && stopAtFailure) break
  }
  return outcomes
}

async function outcomeOf(file: string, asked: Promise<StoreResult | QueuedResult>): Promise<FileOutcome> {
  try {
    const answer = await asked
    const isKept = 'kept' in answer && answer.kept !== undefined
    return { file, answer, error: isKept ? { code: 'file', message: `stored, but not deleted: ${answer.kept}` } : null }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'failed'
    // Without the daemon the others would fail alike, each after its own wait.
    if (code === 'unreachable') throw error
    return { file, answer: null, error: { code, message: error.message } }
  }
}
