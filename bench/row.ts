/** One line of the benchmark table. */
export interface Row {
  readonly name: string
  /** Null when the measurement failed; then `error` says why and `met` is false. */
  readonly value: number | null
  readonly unit: string
  /** What it is compared with, measured in the same run. */
  readonly against: { readonly name: string; readonly value: number } | null
  /** value / against.value. */
  readonly ratio: number | null
  /** As people write it: ">= 2 GB/s", "<= 300 MiB", ">= 0.8x"; null where nothing was promised. */
  readonly target: string | null
  readonly met: boolean | null
  readonly error?: string
}

/** Every file of bench/ that measures exports `rows` of this type. */
export type MeasureRows = () => Promise<Row[]>
