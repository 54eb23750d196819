import assert from 'node:assert'
import { readFile } from 'node:fs/promises'
import test from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import loadWabt from 'wabt'
import { kernelBase64, ScalarKernel, SimdKernel } from './kernel.ts'

test('the embedded bytes are kernel.wat, assembled', async () => {
  const wabt = await loadWabt()
  const source = await readFile(new URL('kernel.wat', import.meta.url), 'utf8')
  using module = disposable(wabt.parseWat('kernel.wat', source, { simd: true, relaxed_simd: true }))
  assert.equal(Buffer.from(module.value.toBinary({}).buffer).toString('base64'), kernelBase64)
})

test('SIMD and scalar kernels agree, at every small length and at random ones', t => {
  const random = seededPrng(t)
  const simd = new SimdKernel()
  const scalar = new ScalarKernel()
  const lengths = [...Array(100).keys(), 65_535, 65_536, 65_537, 131_072, 300_001]
  for (const lengthBytes of lengths) {
    const sourceCount = 1 + random.below(lengthBytes > 1000 ? 4 : 40)
    const targetCount = 1 + random.below(3)
    const matrix = Array.from({ length: targetCount }, () => new Uint8Array(random.bytes(sourceCount)))
    // Views at odd places of a larger buffer, as slots of a pool are.
    const sources = Array.from({ length: sourceCount }, () => random.bytes(lengthBytes + 3).subarray(3))
    const expected = matrix.map(() => new Uint8Array(lengthBytes))
    const actual = matrix.map(() => new Uint8Array(new SharedArrayBuffer(lengthBytes + 1), 1))
    scalar.transform(matrix, sources, expected)
    simd.transform(matrix, sources, actual)
    assert.deepEqual(
      actual.map(bytes => Buffer.from(bytes)),
      expected.map(bytes => Buffer.from(bytes)),
    )
  }
})

function disposable<T extends { destroy(): void }>(value: T): Disposable & { value: T } {
  return { value, [Symbol.dispose]: () => value.destroy() }
}
