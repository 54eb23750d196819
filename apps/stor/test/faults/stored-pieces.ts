import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import type { ObjectRecord } from '../../src/metadata/object-record.ts'
import { decodeShardHeader, PieceHeader } from '../../src/pipeline/piece.ts'
import { idOfPiece } from '../../src/pipeline/shard-writer.ts'
import type { House } from './house.ts'

/** One piece as it lies on a directory backend. */
export interface StoredPiece {
  readonly path: string
  readonly bytes: Buffer
}

/** The pieces of an object where they lie, by shard and frame. */
export async function storedPieces(house: House, name: string): Promise<StoredPiece[][]> {
  const record = await house.record(name)
  return Promise.all(
    record.shards.map(({ backend, runs }) =>
      Promise.all(
        record.frames.map(async (_, frameNumber) => {
          const id = idOfPiece(runs, frameNumber)
          const path = `${house.path}/${backend}/pieces/${Math.floor(id / 4096)}/${id}`
          return { path, bytes: await readFile(path) }
        }),
      ),
    ),
  )
}

/** As a disk changes bytes behind its server's back. */
export async function overwrite({ path }: StoredPiece, bytes: Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, bytes)
  await rename(`${path}.part`, path)
}

export const removePiece = ({ path }: StoredPiece) => rm(path)

/** Where the parts of a shard's first value are, [from, to). */
export function regionsOf({ bytes }: StoredPiece) {
  const { headerBytes } = decodeShardHeader(bytes)
  const pieceAt = headerBytes + PieceHeader.sizeBytes
  return {
    'shard header': [0, headerBytes - 16],
    "shard header's MAC": [headerBytes - 16, headerBytes],
    'piece header': [headerBytes, pieceAt],
    'body of a piece': [pieceAt, bytes.length - 16],
    "piece's MAC": [bytes.length - 16, bytes.length],
  } as const satisfies Readonly<Record<string, readonly [number, number]>>
}

export type Region = keyof ReturnType<typeof regionsOf>

/** The files of a record's shards, both slots, by member. */
export function recordFiles(house: House, { objectId }: Pick<ObjectRecord, 'objectId'>): string[][] {
  const key = `6f${objectId.toString('hex')}`
  return [1, 2, 3, 4, 5, 6].map(i => [0, 1].map(slot => `${house.path}/meta${i}/records/${key}0${slot}`))
}
