/** One measured figure. `target` reads like ">=0.8x" (of `against`), ">=2 GB/s" or "<=300 MiB"; null: only reported. */
export interface Row {
  readonly name: string
  readonly value: number | null
  readonly unit: string
  readonly against: { readonly name: string; readonly value: number } | null
  readonly ratio: number | null
  readonly target: string | null
  readonly met: boolean | null
  /** Why there is no value. */
  readonly error?: string
}

interface Target {
  readonly comparison: '>=' | '<='
  readonly bound: number
  /** Compared with the ratio to `against` instead of the value. */
  readonly ofRatio: boolean
}

/** A row whose `met` is computed from its own numbers, never stated. */
export function row(
  name: string,
  value: number,
  unit: string,
  { against, target }: { against?: { name: string; value: number }; target?: Target } = {},
): Row {
  const ratio = against ? round(value / against.value) : null
  return {
    name,
    value: round(value),
    unit,
    against: against ? { name: against.name, value: round(against.value) } : null,
    ratio,
    target: target ? `${target.comparison}${target.bound}${target.ofRatio ? 'x' : ` ${unit}`}` : null,
    met: target ? meets(target.ofRatio ? ratio : value, target) : null,
  }
}

export const atLeastRatio = (bound: number): Target => ({ comparison: '>=', bound, ofRatio: true })
export const atMostRatio = (bound: number): Target => ({ comparison: '<=', bound, ofRatio: true })
export const atLeast = (bound: number): Target => ({ comparison: '>=', bound, ofRatio: false })
export const atMost = (bound: number): Target => ({ comparison: '<=', bound, ofRatio: false })

/** The row of a measurement that could not be made: it falls short, and says why. */
export function failedRow(name: string, error: unknown): Row {
  const text = error instanceof Error ? error.message : String(error)
  return { name, value: null, unit: '', against: null, ratio: null, target: null, met: false, error: text }
}

function meets(measured: number | null, { comparison, bound }: Target): boolean {
  if (measured === null || !Number.isFinite(measured)) return false
  return comparison === '>=' ? measured >= bound : measured <= bound
}

const round = (value: number) => Number(value.toPrecision(4))
