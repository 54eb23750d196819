import assert from 'node:assert'
import { existsSync } from 'node:fs'
import { type House, until } from './house.ts'
import { overwrite, type Region, regionsOf, removePiece, type StoredPiece, storedPieces } from './stored-pieces.ts'

/** Pieces of a shard, hurt behind the backend's back. */
type Hurt = (
  victim: readonly StoredPiece[],
  context: {
    readonly house: House
    /** The same shard of an object of the same size. */
    readonly ofOther: readonly StoredPiece[]
    /** The next shard of this object. */
    readonly neighbour: readonly StoredPiece[]
    /** The same shard of what had this name before. */
    readonly older: readonly StoredPiece[]
  },
) => Promise<void>

/** Hurts as many shards as may be lost, and then one more than that.
 *  @param seenBy who meets it: a reader, or only who reads whole shards */
export function hurtAtRest(hurt: Hurt, seenBy: 'reader' | 'scrub' = 'reader') {
  return async (house: House) => {
    for (const name of ['/a', '/other']) await house.mustStore(name)
    const before = await storedPieces(house, '/a')
    await house.mustStore('/a')
    const other = await storedPieces(house, '/other')
    const spoil = async (shardIndexes: readonly number[]) => {
      const pieces = await storedPieces(house, '/a')
      for (const index of shardIndexes) {
        const neighbour = pieces[(index + 1) % pieces.length]!
        await hurt(pieces[index]!, { house, ofOther: other[index]!, neighbour, older: before[index]! })
      }
    }
    const { objects, repairer } = await house.runtime.store()
    const id = await objects.idOf({ file: '/a' })
    const first = house.random.below(3)
    await spoil([first, first + 1])
    await house.assertNothingLost('with two shards hurt')
    if (seenBy === 'reader') {
      // A backend that lags is asked last, and not each time. Whoever meets it has it repaired.
      await until(async () => {
        await house.assertNothingLost('while it is repaired')
        return (await house.told()).includes('shard.rebuilt')
      })
    }
    await house.assertMendable()
    await house.assertNothingLost('after it was repaired')

    await spoil([0, 2, 4])
    house.giveUp('/a')
    if (seenBy === 'scrub') assert.ok((await house.retrieve('/a')).length > 0)
    else {
      await assert.rejects(house.retrieve('/a'), { reason: 'too-few-shards' })
      assert.ok(!existsSync(house.pathOf('/a')))
    }
    assert.strictEqual((await repairer.inspect(id)).goodShardCount, 3)
    await house.assertNothingLost('beside it')
  }
}

export const cutShort: Hurt = async ([first], { house }) => {
  await overwrite(first!, first!.bytes.subarray(0, house.random.below(first!.bytes.length)))
}

export const grown: Hurt = async ([first], { house }) => {
  await overwrite(first!, Buffer.concat([first!.bytes, house.random.bytes(1 + house.random.below(100))]))
}

export const gone: Hurt = async ([first]) => removePiece(first!)

/** In each shard that it hurts another of these regions, in turn. */
export const bitFlipped = (...regions: readonly Region[]): Hurt => {
  let count = 0
  return async ([first], { house: { random } }) => {
    const [from, to] = regionsOf(first!)[regions[count++ % regions.length]!]
    const bytes = Buffer.from(first!.bytes)
    bytes[from + random.below(to - from)]! ^= 1 << random.below(8)
    await overwrite(first!, bytes)
  }
}

export const swappedFrames: Hurt = async ([first, second]) => {
  await overwrite(first!, second!.bytes)
  await overwrite(second!, first!.bytes)
}

export const ofNeighbour: Hurt = async ([first], { neighbour }) => overwrite(first!, neighbour[0]!.bytes)

export const ofOtherObject: Hurt = async ([first], { ofOther }) => overwrite(first!, ofOther[0]!.bytes)

export const replayed: Hurt = async (victim, { older }) => {
  for (const [frame, piece] of victim.entries()) await overwrite(piece, older[frame]!.bytes)
}
