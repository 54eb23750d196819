/** The middle one by size, of an odd number of them. */
export function middle(values: readonly number[]): number {
  return middleBy(values, value => value)
}

/** The same of rounds, by one figure of each. */
export function middleBy<T>(rounds: readonly T[], figureOf: (round: T) => number): T {
  return rounds.toSorted((a, b) => figureOf(a) - figureOf(b))[(rounds.length - 1) >> 1]!
}
