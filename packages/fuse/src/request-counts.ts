import type { OpcodeName } from './opcodes.ts'
import type { Request } from './request.ts'

/** How many requests came, by opcode: the number of requests per system call decides the speed of small files. */
export class RequestCounts {
  readonly #counts = new Map<OpcodeName | 'unknown', number>()

  note({ name }: Pick<Request, 'name'>): void {
    const key = name ?? 'unknown'
    this.#counts.set(key, this.of(key) + 1)
  }

  of(name: OpcodeName | 'unknown'): number {
    return this.#counts.get(name) ?? 0
  }

  all(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts)
  }
}
