import { layout } from '@qsfs/bytes/layout'
import { StorError } from '../errors.ts'

const MAGIC = Buffer.from('QSCP')
const VERSION = 1

/** docs/formats/metadata.md: how far the scrub is. */
const ScrubPositionLayout = layout('scrub_position', 32, {
  magic: [0, 'bytes', 4],
  version: [4, 'u32'],
  roundStartedMs: [8, 'u53'],
  lastObjectId: [16, 'bytes', 16],
})

/** Under which key it is kept: 'c'. */
export const SCRUB_POSITION_KEY = Buffer.from('c')

export interface ScrubPosition {
  /** Milliseconds since 1970. */
  readonly roundStartedMs: number
  /** The objects of this round up to this id, in the order of their bytes, are done; zeros: none yet. */
  readonly lastObjectId: Buffer
}

export function encodeScrubPosition(position: ScrubPosition): Buffer {
  return ScrubPositionLayout.toBuffer({ magic: MAGIC, version: VERSION, ...position })
}

/** @throws StorError 'damaged' */
export function decodeScrubPosition(bytes: Buffer): ScrubPosition {
  if (bytes.length !== ScrubPositionLayout.sizeBytes)
    throw new StorError('damaged', 'a scrub position has another length')
  const { magic, version, roundStartedMs, lastObjectId } = ScrubPositionLayout.decode(bytes)
  if (!magic.equals(MAGIC) || version !== VERSION) {
    throw new StorError('damaged', `a scrub position is not of version ${VERSION}`)
  }
  return { roundStartedMs, lastObjectId: Buffer.from(lastObjectId) }
}
