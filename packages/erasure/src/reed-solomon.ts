import assert from 'node:assert'
import { type Kernel, SimdKernel } from './kernel.ts'
import { inverted, type Matrix, product, vandermonde } from './matrix.ts'

/** A shard that is there, or null where it was lost. */
export type MaybeShard = Uint8Array | null

/** Systematic Reed-Solomon coding over GF(2^8): the k data shards are the data itself, any k of the k+m shards rebuild
 *  the others. The matrix is that of the reed-solomon-erasure crate, a Vandermonde matrix times the inverse of its top.
 *  @see Plank, "A tutorial on Reed-Solomon coding" (1997), with its 2005 correction */
export class ReedSolomon {
  readonly dataShards: number
  readonly parityShards: number
  readonly #matrix: Matrix
  readonly #kernel: Kernel

  /** @throws RangeError unless k >= 1, m >= 0 and k + m <= 256, all that GF(2^8) has room for */
  constructor(dataShards: number, parityShards: number, kernel: Kernel = new SimdKernel()) {
    const sane = Number.isInteger(dataShards) && Number.isInteger(parityShards) && dataShards >= 1 && parityShards >= 0
    if (!sane || dataShards + parityShards > 256) {
      throw new RangeError(`${dataShards} data and ${parityShards} parity shards: at least 1 and 0, at most 256 in all`)
    }
    this.dataShards = dataShards
    this.parityShards = parityShards
    this.#kernel = kernel
    const wide = vandermonde(dataShards + parityShards, dataShards)
    this.#matrix = product(wide, inverted(wide.slice(0, dataShards)))
  }

  get totalShards(): number {
    return this.dataShards + this.parityShards
  }

  /** Fills the last m shards from the first k.
   *  @param shards k+m byte strings of one length */
  encode(shards: readonly Uint8Array[]): void {
    assert(shards.length === this.totalShards, `${this.totalShards} shards are encoded, not ${shards.length}`)
    this.#kernel.transform(
      this.#matrix.slice(this.dataShards),
      shards.slice(0, this.dataShards),
      shards.slice(this.dataShards),
    )
  }

  /** Rebuilds lost shards, in place: a null becomes a new byte string.
   *  @param shards length k+m, null where lost; all others shardBytes long
   *  @param wanted 'data' leaves lost parity null
   *  @throws RangeError when fewer than k are there, or their lengths are not shardBytes */
  reconstruct(shards: MaybeShard[], shardBytes: number, wanted: 'all' | 'data' = 'all'): void {
    if (shards.length !== this.totalShards) {
      throw new RangeError(`${this.totalShards} shards are reconstructed, not ${shards.length}`)
    }
    const present = shards.flatMap((shard, index) => (shard === null ? [] : [index]))
    if (present.some(index => shards[index]!.length !== shardBytes)) {
      throw new RangeError(`a shard is not ${shardBytes} bytes long`)
    }
    if (present.length < this.dataShards) {
      throw new RangeError(`${present.length} of ${this.totalShards} shards are left, ${this.dataShards} are needed`)
    }
    const lost = shards.flatMap((shard, index) =>
      shard === null && (wanted === 'all' || index < this.dataShards) ? [index] : [],
    )
    if (lost.length === 0) return
    const used = present.slice(0, this.dataShards)
    // The used rows turn data into the used shards; their inverse turns those back, and a lost row turns data into its shard.
    const fromUsed = product(
      lost.map(index => this.#matrix[index]!),
      inverted(used.map(index => this.#matrix[index]!)),
    )
    const rebuilt = lost.map(() => new Uint8Array(shardBytes))
    this.#kernel.transform(
      fromUsed,
      used.map(index => shards[index]!),
      rebuilt,
    )
    lost.forEach((index, i) => {
      shards[index] = rebuilt[i]!
    })
  }
}
