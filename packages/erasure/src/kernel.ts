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
  'AGFzbQEAAAABCwFgB39/f39/f38AAwIBAAUDAQABBxQCBm1lbW9yeQIAB3Jvd1BhaXIAAAqHAwGEAwIEfwt7QQ/9DyERIAMgBWohByAGIAJBBnRqIQoCQANA' +
  'IAMgB08NAf0MAAAAAAAAAAAAAAAAAAAAACES/QwAAAAAAAAAAAAAAAAAAAAAIRP9DAAAAAAAAAAAAAAAAAAAAAAhFP0MAAAAAAAAAAAAAAAAAAAAACEVIAAh' +
  'CCAGIQkDQCAI/QAEACELIAj9AAQQIQ0gC0EE/Y0BIBH9TiEMIA1BBP2NASAR/U4hDiALIBH9TiELIA0gEf1OIQ0gCf0ABAAhDyAJ/QAEECEQIBIgDyAL/YAC' +
  'IBAgDP2AAv1R/VEhEiATIA8gDf2AAiAQIA79gAL9Uf1RIRMgCf0ABCAhDyAJ/QAEMCEQIBQgDyAL/YACIBAgDP2AAv1R/VEhFCAVIA8gDf2AAiAQIA79gAL9' +
  'Uf1RIRUgCCABaiEIIAlBwABqIQkgCSAKSQ0ACyADIBL9CwQAIAMgE/0LBBAgBCAU/QsEACAEIBX9CwQQIABBIGohACADQSBqIQMgBEEgaiEEDAALCws='

interface KernelExports {
  readonly memory: WebAssembly.Memory
  rowPair(
    sources: number,
    strideBytes: number,
    sourceCount: number,
    first: number,
    second: number,
    lengthBytes: number,
    tables: number,
  ): void
}

/** The sources of one pass share the cache with the tables and two targets. */
const passBytesMax = 256 * 1024
const wasmPageBytes = 64 * 1024
/** Of the tables of one source: 32 for each row of a pair. */
const pairTableBytes = 64

/** 128-bit SIMD: two table look-ups (a swizzle each) multiply 16 bytes; two rows at a time share what they read. Bytes are copied through its own memory, a
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
    const stripBytesMax = Math.max(32, Math.floor(passBytesMax / (sourceCount + 2) / 32) * 32)
    const sourcesAt = sourceCount * pairTableBytes
    const firstAt = sourcesAt + sourceCount * stripBytesMax
    const secondAt = firstAt + stripBytesMax
    const memory = this.#room(secondAt + stripBytesMax)
    for (let at = 0; at < lengthBytes; at += stripBytesMax) {
      const stripBytes = Math.min(stripBytesMax, lengthBytes - at)
      for (let c = 0; c < sourceCount; c++) {
        memory.set(sources[c]!.subarray(at, at + stripBytes), sourcesAt + c * stripBytesMax)
      }
      // The kernel works on whole columns of 32 bytes; what it computes beyond the strip is not copied out.
      const roundedBytes = Math.ceil(stripBytes / 32) * 32
      for (let r = 0; r < targets.length; r += 2) {
        const second = targets[r + 1]
        writeTables(matrix[r]!, memory, 0)
        // Without a second row its target gets the last pair's, or anything.
        if (second !== undefined) writeTables(matrix[r + 1]!, memory, 32)
        this.#exports.rowPair(sourcesAt, stripBytesMax, sourceCount, firstAt, secondAt, roundedBytes, 0)
        targets[r]!.set(memory.subarray(firstAt, firstAt + stripBytes), at)
        second?.set(memory.subarray(secondAt, secondAt + stripBytes), at)
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

/** @param offsetBytes of this row among the pair's */
function writeTables(row: Uint8Array, memory: Uint8Array, offsetBytes: number): void {
  for (let c = 0; c < row.length; c++) {
    memory.set(nibbleTables.subarray(row[c]! * 32, row[c]! * 32 + 32), c * pairTableBytes + offsetBytes)
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
