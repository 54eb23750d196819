import type { PieceId } from '../backend/backend.ts'
import type { ObjectRecord } from '../metadata/object-record.ts'

/** Which pieces the records name, as runs: two numbers for each shard of each object, or a few. */
export class NamedPieces {
  readonly #runs = new Map<string, { start: number; end: number }[]>()
  #isSorted = true

  /** Live or deleted: what a record still owes for removal is named too. */
  add({ shards, owed }: Pick<ObjectRecord, 'shards' | 'owed'>): void {
    for (const { backend, runs } of [...shards, ...owed]) {
      const known = this.#runs.get(backend) ?? []
      for (const { start, count } of runs) known.push({ start, end: start + count })
      this.#runs.set(backend, known)
    }
    this.#isSorted = false
  }

  has(backend: string, id: PieceId): boolean {
    if (!this.#isSorted) this.#sort()
    const runs = this.#runs.get(backend) ?? []
    let [low, high] = [0, runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (runs[middle]!.end <= id) low = middle + 1
      else high = middle
    }
    return low < runs.length && runs[low]!.start <= id
  }

  /** Runs may overlap where a backend came back empty and gave its ids again: they become one. */
  #sort(): void {
    for (const [backend, runs] of this.#runs) {
      runs.sort((a, b) => a.start - b.start)
      const merged: typeof runs = []
      for (const run of runs) {
        const last = merged.at(-1)
        if (last !== undefined && run.start <= last.end) last.end = Math.max(last.end, run.end)
        else merged.push({ ...run })
      }
      this.#runs.set(backend, merged)
    }
    this.#isSorted = true
  }
}
