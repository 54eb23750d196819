/// <reference path="./webassembly.d.ts" />
import assert from 'node:assert'
import { multiply, nibbleTables } from './gf256.ts'
import type { Matrix } from './matrix.ts'

/** Multiplies stripes by a matrix: `targets[r]` becomes the sum of `matrix[r][c]` times `sources[c]`, byte by byte. */
export interface Kernel {
  /** @param sources at least one, all as long as the targets; may be views of shared memory, and are only read */
  transform(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void
}

/** kernel.wat, assembled; kernel.test.ts assembles it again and compares. */
export const kernelBase64 =
  'AGFzbQEAAAABCgFgBn9/f39/fwADAgEABQMBAAEHEAIGbWVtb3J5AgADcm93AAAK7QEB6gECBH8Ge0EP/Q8hDyADIARqIQYgBSACQQV0aiEJAkAD' +
  'QCADIAZPDQH9DAAAAAAAAAAAAAAAAAAAAAAhDf0MAAAAAAAAAAAAAAAAAAAAACEOIAAhByAFIQgDQCAI/QAEACEKIAj9AAQQIQsgB/0ABAAhDCAN' +
  'IAogDCAP/U79DiALIAxBBP1t/Q79Uf1RIQ0gB/0ABBAhDCAOIAogDCAP/U79DiALIAxBBP1t/Q79Uf1RIQ4gByABaiEHIAhBIGohCCAIIAlJDQAL' +
  'IAMgDf0LBAAgAyAO/QsEECAAQSBqIQAgA0EgaiEDDAALCws='

interface KernelExports {
  readonly memory: WebAssembly.Memory
  row(
    sources: number,
    strideBytes: number,
    sourceCount: number,
    target: number,
    lengthBytes: number,
    tables: number,
  ): void
}

/** The sources of one pass share the cache with the table and one target. */
const passBytesMax = 256 * 1024
const wasmPageBytes = 64 * 1024

/** 128-bit SIMD: two table look-ups (i8x16.swizzle) multiply 16 bytes. Bytes are copied through its own memory, a
 *  cache-sized strip at a time. */
export class SimdKernel implements Kernel {
  readonly #exports: KernelExports

  constructor() {
    const module = new WebAssembly.Module(Buffer.from(kernelBase64, 'base64'))
    this.#exports = new WebAssembly.Instance(module).exports as unknown as KernelExports
  }

  transform(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void {
    const lengthBytes = checkShapes(matrix, sources, targets)
    const sourceCount = sources.length
    const stripBytesMax = Math.max(32, Math.floor(passBytesMax / (sourceCount + 1) / 32) * 32)
    const tablesBytes = sourceCount * 32
    const sourcesAt = tablesBytes
    const targetAt = sourcesAt + sourceCount * stripBytesMax
    const memory = this.#room(targetAt + stripBytesMax)
    for (let at = 0; at < lengthBytes; at += stripBytesMax) {
      const stripBytes = Math.min(stripBytesMax, lengthBytes - at)
      for (let c = 0; c < sourceCount; c++) {
        memory.set(sources[c]!.subarray(at, at + stripBytes), sourcesAt + c * stripBytesMax)
      }
      // The kernel works on whole columns of 32 bytes; what it computes beyond the strip is not copied out.
      const roundedBytes = Math.ceil(stripBytes / 32) * 32
      for (let r = 0; r < targets.length; r++) {
        writeTables(matrix[r]!, memory)
        this.#exports.row(sourcesAt, stripBytesMax, sourceCount, targetAt, roundedBytes, 0)
        targets[r]!.set(memory.subarray(targetAt, targetAt + stripBytes), at)
      }
    }
  }

  #room(bytes: number): Uint8Array {
    const { memory } = this.#exports
    const missingBytes = bytes - memory.buffer.byteLength
    if (missingBytes > 0) memory.grow(Math.ceil(missingBytes / wasmPageBytes))
    return new Uint8Array(memory.buffer)
  }
}

/** The same, one byte at a time: what the SIMD kernel is compared with. */
export class ScalarKernel implements Kernel {
  transform(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): void {
    const lengthBytes = checkShapes(matrix, sources, targets)
    targets.forEach((target, r) => {
      for (let i = 0; i < lengthBytes; i++) {
        target[i] = sources.reduce((sum, source, c) => sum ^ multiply(matrix[r]![c]!, source[i]!), 0)
      }
    })
  }
}

function writeTables(row: Uint8Array, memory: Uint8Array): void {
  for (let c = 0; c < row.length; c++) {
    memory.set(nibbleTables.subarray(row[c]! * 32, row[c]! * 32 + 32), c * 32)
  }
}

function checkShapes(matrix: Matrix, sources: readonly Uint8Array[], targets: readonly Uint8Array[]): number {
  const lengthBytes = sources[0]?.length ?? 0
  assert(sources.length > 0, 'a transform needs sources')
  assert(matrix.length === targets.length, 'one row per target')
  assert(
    matrix.every(row => row.length === sources.length),
    'one coefficient per source',
  )
  assert(
    [...sources, ...targets].every(bytes => bytes.length === lengthBytes),
    'stripes are of one length',
  )
  return lengthBytes
}
