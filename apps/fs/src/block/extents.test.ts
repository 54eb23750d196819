import assert from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { countInWindow, type ExtentList, firstAfter, lengthOf, replace, windowBytes } from './extents.ts'

/** The array has one element for so many bytes of file. */
const stepBytes = 512

test('random replaces and holes agree with a byte array, and ids are freed exactly when their last byte goes', t => {
  const prng = seededPrng(t)
  for (let history = 0; history < 60; history++) {
    /** Per step of bytes: which value it is of, and where in it; -1 for a hole. */
    const ids = new Int32Array((3 * windowBytes) / stepBytes).fill(-1)
    const places = new Int32Array(ids.length)
    let extents: ExtentList = []
    let nextId = 0
    const live = new Set<number>()
    for (let step = 0; step < 60; step++) {
      const window = prng.below(3)
      const start = window * windowBytes + prng.below(windowBytes / stepBytes) * stepBytes
      const end = Math.min((window + 1) * windowBytes, start + (1 + prng.below(80)) * stepBytes)
      const before = lengthOf(extents)
      const id = nextId++
      const isHole = prng.chance(0.3)
      const length = end - start
      const value = { offset: start, length, id, valueOffset: 0, valueBytes: length, crc: id, shared: false }
      const changed = replace(extents, start, end, isHole ? [] : [value])
      ids.fill(isHole ? -1 : id, start / stepBytes, end / stepBytes)
      for (let at = start; at < end; at += stepBytes) places[at / stepBytes] = at - start
      if (!isHole) live.add(id)
      extents = changed.extents
      assert.strictEqual(lengthOf(extents) - before, changed.grownBytes)
      const left = new Set(ids)
      for (const freed of changed.freed) assert(live.delete(freed), `${freed} freed twice`)
      for (const one of live) assert(left.has(one), `${one} is not freed though nothing names it`)
      for (const freed of changed.freed) assert(!left.has(freed), `${freed} is freed though it is named`)
      assertEqual(extents, ids, places)
    }
    assert.strictEqual(
      countInWindow(extents, windowBytes),
      extents.filter(({ offset }) => Math.floor(offset / windowBytes) === 1).length,
    )
  }
})

function assertEqual(extents: ExtentList, ids: Int32Array, places: Int32Array): void {
  let end = 0
  for (const extent of extents) {
    assert(extent.offset >= end && extent.length > 0, 'sorted, without overlap')
    assert(
      ids.subarray(end / stepBytes, extent.offset / stepBytes).every(id => id === -1),
      'a hole between',
    )
    end = extent.offset + extent.length
    for (const at of [extent.offset, end - stepBytes]) {
      assert.strictEqual(places[at / stepBytes], extent.valueOffset + at - extent.offset)
      assert.strictEqual(extents[firstAfter(extents, at)], extent)
    }
    assert(ids.subarray(extent.offset / stepBytes, end / stepBytes).every(id => id === extent.id))
  }
  assert(ids.subarray(end / stepBytes).every(id => id === -1))
}
