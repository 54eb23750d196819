import assert from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { DirtyWindow, type WindowMemory } from './dirty-window.ts'
import { windowBytes } from './extents.ts'

class CountedMemory implements WindowMemory {
  takenBytes = 0
  readonly released: Buffer[] = []

  take(sizeBytes: number): Buffer {
    this.takenBytes += sizeBytes
    return Buffer.alloc(sizeBytes, 0xee)
  }

  release(bytes: Buffer): void {
    this.takenBytes -= bytes.length
    this.released.push(bytes)
  }
}

/** A window beside an array that says of each byte what it is, -1: not here. */
class Compared {
  readonly memory = new CountedMemory()
  readonly model = new Int16Array(windowBytes).fill(-1)
  readonly window = new DirtyWindow(0, 0, this.memory)

  write(at: number, length: number, value: number): void {
    this.window.write(at, Buffer.alloc(length, value))
    this.model.fill(value, at, at + length)
  }

  subtract(start: number, end: number): void {
    this.window.subtract(start, end)
    this.model.fill(-1, start, end)
  }

  check(window = this.window): void {
    const found = new Int16Array(windowBytes).fill(-1)
    let previousEnd = -1
    for (const { start, end } of window.ranges) {
      assert.ok(start > previousEnd && end > start, 'ranges are sorted, not empty, and do not touch')
      found.set(window.view(start, end), start)
      previousEnd = end
    }
    assert.ok(
      Buffer.from(found.buffer).equals(Buffer.from(this.model.buffer)),
      'the bytes are those that were written last',
    )
  }
}

test('random writes and cuts leave what they should, in memory that is all given back', t => {
  const prng = seededPrng(t)
  for (let history = 0; history < 40; history++) {
    const compared = new Compared()
    const { window, memory } = compared
    for (let step = 0; step < 30; step++) {
      const isPage = prng.chance(0.7)
      const at = isPage ? prng.below(32) * 4096 : prng.below(windowBytes)
      const length = isPage ? 4096 : 1 + prng.below(Math.min(20_000, windowBytes - at))
      if (prng.chance(0.8)) compared.write(at, length, prng.below(256))
      else compared.subtract(at, Math.min(windowBytes, at + length))
    }
    compared.check()
    const newer = new DirtyWindow(0, 0, memory)
    newer.write(1000, Buffer.alloc(5000, 7))
    newer.underlay(window)
    compared.model.fill(7, 1000, 6000)
    window.release()
    compared.check(newer)
    newer.fillUp({ start: 0, end: windowBytes }, [Buffer.alloc(70_000, 1), Buffer.alloc(windowBytes - 70_000, 2)])
    for (const [at, value] of compared.model.entries()) if (value < 0) compared.model[at] = at < 70_000 ? 1 : 2
    compared.check(newer)
    assert.ok(newer.isFull)
    newer.release()
    assert.equal(memory.takenBytes, 0)
  }
})

test('pages far apart cost a page each', () => {
  const memory = new CountedMemory()
  const window = new DirtyWindow(0, 0, memory)
  for (let page = 0; page < 32; page += 4) window.write(page * 4096, Buffer.alloc(4096, page))
  assert.equal(memory.takenBytes, 8 * 4096)
})

test('memory that is cut off is not given back before the window is: it may be on its way to the store', () => {
  const memory = new CountedMemory()
  const window = new DirtyWindow(0, 0, memory)
  window.write(0, Buffer.alloc(windowBytes, 1))
  window.subtract(0, windowBytes)
  assert.deepEqual([window.ranges.length, memory.released.length], [0, 0])
  window.release()
  assert.equal(memory.takenBytes, 0)
})
