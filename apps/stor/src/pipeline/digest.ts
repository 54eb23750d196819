import { frameBytesMax } from '../metadata/object-record.ts'
import { openSource } from '../segment-file.ts'
import type { FramePool } from './frame-pool.ts'

export interface FileDigest {
  readonly sizeBytes: number
  readonly sha256: Buffer
  /** zstor's checksum: BLAKE2b, 16 bytes long. */
  readonly blake2b: Buffer
}

/** What a file is, to be compared with a record: whether it is stored already, or still the same.
 *  @throws StorError 'file' */
export async function digestFile(path: string, pool: FramePool): Promise<FileDigest> {
  await using file = await openSource(path)
  const { fd, sizeBytes } = file
  const digests = await pool.run({ kind: 'digest', fd, sizeBytes, frameBytes: frameBytesMax / 16, blake2b: true })
  return { sizeBytes, sha256: Buffer.from(digests.sha256), blake2b: Buffer.from(digests.blake2b!) }
}
