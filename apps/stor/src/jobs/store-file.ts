import type { StoreParams, StoreResult } from '@qsfs/protocol/stor-control'
import type { AskerOptions, ObjectStore } from '../object-store.ts'
import { removeWhenStored } from '../segment-file.ts'

/** Stores a file and, when asked to, deletes it: only while it holds the very bytes that are stored.
 *  @throws StorError */
export async function storeFile(
  objects: ObjectStore,
  params: StoreParams,
  options: AskerOptions,
): Promise<StoreResult> {
  const stored = await objects.store(params, options)
  if (params.delete !== true) return stored
  const kept = await removeWhenStored(params.file, stored.sha256)
  return kept === null ? stored : { ...stored, kept }
}
