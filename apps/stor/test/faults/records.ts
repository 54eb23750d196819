import assert from 'node:assert'
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { type House, until } from './house.ts'
import { recordFiles } from './stored-pieces.ts'

/** The slots of an object's record on one member, and those of others. */
type Hurt = (
  slots: readonly string[],
  context: {
    readonly house: House
    readonly ofOtherObject: readonly string[]
    readonly ofOtherMember: readonly string[]
    /** What the slots held one generation ago; null: nothing. */
    readonly before: readonly (Buffer | null)[]
  },
) => Promise<void>

const readOrNull = (path: string) => readFile(path).catch(() => null)

/** Records that change on the disks of as many members as may be lost. */
export function recordsHurt(hurt: Hurt) {
  return async (house: House) => {
    for (const name of ['/r', '/other']) await house.mustStore(name)
    await until(async () => (await house.status()).laggingBackends.length === 0)
    const files = recordFiles(house, await house.record('/r'))
    const before = await Promise.all(files.map(slots => Promise.all(slots.map(readOrNull))))
    // A second generation of it: its checksum is kept in it.
    const { objects } = await house.runtime.store()
    await objects.check({ file: '/r' })
    const others = recordFiles(house, await house.record('/other'))
    const first = house.random.below(6)
    const victims = [0, 1, 2, 3].map(step => (first + step) % 6)
    for (const index of victims) {
      await hurt(files[index]!, {
        ...{ house, ofOtherObject: others[index]!, before: before[index]! },
        ofOtherMember: files[(index + 4) % 6]!,
      })
    }
    await house.assertNothingLost('with four of six records hurt')
    const { meta } = await house.runtime.store()
    const record = await house.record('/r')
    const key = Buffer.concat([Buffer.from('o'), record.objectId])
    // By the rule, where the answers settle it; never an older one as the newest.
    const settled = await meta.get(key).catch(error => error)
    if (settled instanceof Error) assert.strictEqual((settled as { reason?: string }).reason, 'unavailable')
    await house.assertNothingLost('while it is caught up')
    // Whoever writes it again tells what is missing.
    if (!(settled instanceof Error)) await meta.put(key, ({ previous }) => previous)
  }
}

/** As two members at most: then the answers settle everything, and all is mended. */
export function recordsMended(hurt: Hurt) {
  return async (house: House) => {
    for (const name of ['/r', '/other']) await house.mustStore(name)
    await until(async () => (await house.status()).laggingBackends.length === 0)
    const files = recordFiles(house, await house.record('/r'))
    const before = await Promise.all(files.map(slots => Promise.all(slots.map(readOrNull))))
    const { objects, meta } = await house.runtime.store()
    await objects.check({ file: '/r' })
    const right = await Promise.all(files.map(slots => Promise.all(slots.map(readOrNull))))
    const others = recordFiles(house, await house.record('/other'))
    const first = house.random.below(5)
    for (const index of [first, first + 1]) {
      await hurt(files[index]!, {
        ...{ house, ofOtherObject: others[index]!, before: before[index]! },
        ofOtherMember: files[(index + 2) % 6]!,
      })
    }
    const key = Buffer.concat([Buffer.from('o'), (await house.record('/r')).objectId])
    await until(async () => {
      await meta.get(key)
      const now = await Promise.all(files.map(slots => Promise.all(slots.map(readOrNull))))
      // The newest generation is whole again on all; an older slot is as it was, or gone.
      return now.every(
        (slots, i) =>
          slots.every((slot, at) => slot === null || slot.equals(right[i]![at]!)) &&
          slots.some(slot => slot !== null && slot.length > 0 && right[i]!.some(was => was?.equals(slot))),
      )
    })
    await house.assertNothingLost('after it was caught up')
  }
}

export const tornRecords: Hurt = async slots => {
  for (const path of slots) await writeFile(path, (await readFile(path)).subarray(0, -9))
}

export const rottenRecords: Hurt = async (slots, { house: { random } }) => {
  for (const path of slots) {
    const bytes = await readFile(path)
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8)
    await writeFile(path, bytes)
  }
}

export const olderRecords: Hurt = async (slots, { before }) => {
  for (const [at, path] of slots.entries()) {
    const bytes = before[at]
    if (bytes) await writeFile(path, bytes)
    else await rm(path, { force: true })
  }
}

export const swappedSlots: Hurt = async ([first, second]) => {
  const bytes = await readFile(first!)
  await copyFile(second!, first!)
  await writeFile(second!, bytes)
}

export const foreignRecords: Hurt = async (slots, { ofOtherObject }) => {
  for (const path of slots) await copyFile(ofOtherObject[0]!, path)
}

export const recordsOfAnotherMember: Hurt = async (slots, { ofOtherMember }) => {
  for (const [at, path] of slots.entries()) await copyFile(ofOtherMember[at]!, path)
}

export const lostRecords: Hurt = async slots => {
  for (const path of slots) await rm(path)
}
