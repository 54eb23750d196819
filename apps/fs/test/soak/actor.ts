import assert from 'node:assert'
import type { Found, History } from './history.ts'
import { describe, type Operation } from './model.ts'

/** A filesystem that does operations. */
export interface Actor {
  /** @throws an error whose code is the errno */
  perform(operation: Operation): Promise<unknown>
  /** Everything that is there. */
  look(): Promise<ReadonlyMap<string, Found>>
}

/** Where two things are wrong, which is seen first does not matter: of two parents that are missing; a link of a directory to a name
 *  that is taken. */
const alike: readonly (readonly string[])[] = [
  ['ENOENT', 'ENOTDIR'],
  ['EEXIST', 'EPERM'],
]

/** Lets both do the operation and compares how it ends.
 *  @param isCrash an error that says that the filesystem died: then the operation may have happened or not
 *  @returns false when it died */
export async function step(
  history: History,
  actor: Actor,
  operation: Operation,
  isCrash: (error: unknown) => boolean,
): Promise<boolean> {
  const before = history.now.clone()
  let expected = 'done'
  try {
    history.apply(operation)
  } catch (error) {
    expected = (error as { code: string }).code
  }
  let actual = 'done'
  try {
    const result = await actor.perform(operation)
    if (operation.name === 'read' && expected === 'done') {
      const { offset, length } = operation
      const { bytes } = before.file(operation.path)
      assert((result as Buffer).equals(bytes.subarray(offset, offset + length)), `${describe(operation)}: other bytes`)
    }
  } catch (error) {
    if (isCrash(error)) return false
    if (error instanceof assert.AssertionError) throw error
    actual = (error as { code?: string }).code ?? String(error)
  }
  const isAlike = actual === expected || alike.some(codes => codes.includes(actual) && codes.includes(expected))
  assert(isAlike, `${describe(operation)}: ${actual}, not ${expected}`)
  if (actual === 'done' && operation.name === 'fsync') history.syncedFile(operation.path)
  if (actual === 'done' && operation.name === 'sync') history.syncedAll()
  return true
}
