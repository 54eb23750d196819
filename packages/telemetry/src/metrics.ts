import assert from 'node:assert'

/** One value per label name, in the order of the names. */
export type LabelValues = readonly string[]

/** The numbers of one daemon, rendered as Prometheus text. */
export class Metrics {
  readonly #metrics = new Map<string, Metric>()

  /** Counts since the start; the name ends in _total. */
  counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
    return this.#register(name, new Counter(name, help, labelNames))
  }

  /** A value as it is now. */
  gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return this.#register(name, new Gauge(name, help, labelNames))
  }

  /** How many values were at most each of `buckets` (ascending), their sum and count. */
  histogram(name: string, help: string, buckets: readonly number[], labelNames: readonly string[] = []): Histogram {
    return this.#register(name, new Histogram(name, help, buckets, labelNames))
  }

  /** Values that are kept elsewhere, asked for when the text is rendered. */
  computed(
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    labelNames: readonly string[],
    samples: () => Iterable<readonly [LabelValues, number]>,
  ): void {
    this.#register(name, new Computed(type, name, help, labelNames, samples))
  }

  /** Prometheus text exposition format 0.0.4. */
  render(): string {
    return [...this.#metrics.values()].map(metric => metric.render()).join('')
  }

  #register<M extends Metric>(name: string, metric: M): M {
    assert(/^[a-z_][a-z0-9_]*$/.test(name), `${name} is no metric name`)
    assert(!this.#metrics.has(name), `the metric ${name} is declared twice`)
    this.#metrics.set(name, metric)
    return metric
  }
}

interface Metric {
  render(): string
}

/** Values by their labels. */
class Series<V> {
  readonly name: string
  readonly #header: string
  readonly #labelNames: readonly string[]
  readonly #values = new Map<string, V>()

  constructor(type: 'counter' | 'gauge' | 'histogram', name: string, help: string, labelNames: readonly string[]) {
    this.name = name
    this.#header = `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`
    this.#labelNames = labelNames
  }

  get(labels: LabelValues, initial: () => V): V {
    const key = this.#keyOf(labels)
    let value = this.#values.get(key)
    if (value === undefined) {
      value = initial()
      this.#values.set(key, value)
    }
    return value
  }

  set(labels: LabelValues, value: V): void {
    this.#values.set(this.#keyOf(labels), value)
  }

  clear(): void {
    this.#values.clear()
  }

  render(line: (labels: string, value: V) => string): string {
    return this.#header + [...this.#values].map(([labels, value]) => line(labels, value)).join('')
  }

  #keyOf(labels: LabelValues): string {
    assert(
      labels.length === this.#labelNames.length,
      `${this.name} has the labels ${this.#labelNames.join(', ') || '(none)'}`,
    )
    return this.#labelNames.map((name, i) => `${name}="${escapeLabel(labels[i]!)}"`).join(',')
  }
}

export class Counter {
  readonly #series: Series<number>

  constructor(name: string, help: string, labelNames: readonly string[]) {
    this.#series = new Series('counter', name, help, labelNames)
    if (labelNames.length === 0) this.#series.set([], 0)
  }

  add(amount = 1, labels: LabelValues = []): void {
    this.#series.set(labels, this.value(labels) + amount)
  }

  value(labels: LabelValues = []): number {
    return this.#series.get(labels, () => 0)
  }

  render(): string {
    return this.#series.render((labels, value) => `${this.#series.name}${braces(labels)} ${value}\n`)
  }
}

export class Gauge {
  readonly #series: Series<number>

  constructor(name: string, help: string, labelNames: readonly string[]) {
    this.#series = new Series('gauge', name, help, labelNames)
  }

  set(value: number, labels: LabelValues = []): void {
    this.#series.set(labels, value)
  }

  render(): string {
    return this.#series.render((labels, value) => `${this.#series.name}${braces(labels)} ${value}\n`)
  }
}

class Computed {
  readonly #series: Series<number>
  readonly #samples: () => Iterable<readonly [LabelValues, number]>

  constructor(
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    labelNames: readonly string[],
    samples: () => Iterable<readonly [LabelValues, number]>,
  ) {
    this.#series = new Series(type, name, help, labelNames)
    this.#samples = samples
  }

  render(): string {
    this.#series.clear()
    for (const [labels, value] of this.#samples()) this.#series.set(labels, value)
    return this.#series.render((labels, value) => `${this.#series.name}${braces(labels)} ${value}\n`)
  }
}

export class Histogram {
  readonly #series: Series<{ readonly counts: number[]; count: number; sum: number }>
  readonly #buckets: readonly number[]

  constructor(name: string, help: string, buckets: readonly number[], labelNames: readonly string[]) {
    assert(
      buckets.every((bound, i) => i === 0 || bound > buckets[i - 1]!),
      `the buckets of ${name} do not ascend`,
    )
    this.#series = new Series('histogram', name, help, labelNames)
    this.#buckets = buckets
  }

  observe(value: number, labels: LabelValues = []): void {
    const seen = this.#series.get(labels, () => ({ counts: this.#buckets.map(() => 0), count: 0, sum: 0 }))
    seen.count++
    seen.sum += value
    const bucket = this.#buckets.findIndex(bound => value <= bound)
    if (bucket !== -1) seen.counts[bucket]!++
  }

  render(): string {
    const { name } = this.#series
    return this.#series.render((labels, { counts, count, sum }) => {
      const prefix = labels === '' ? '' : `${labels},`
      let below = 0
      const lines = this.#buckets.map((bound, i) => {
        below += counts[i]!
        return `${name}_bucket{${prefix}le="${bound}"} ${below}\n`
      })
      lines.push(`${name}_bucket{${prefix}le="+Inf"} ${count}\n`)
      lines.push(`${name}_sum${braces(labels)} ${sum}\n`, `${name}_count${braces(labels)} ${count}\n`)
      return lines.join('')
    })
  }
}

function braces(labels: string): string {
  return labels === '' ? '' : `{${labels}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
