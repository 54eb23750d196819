/** One section as TOML, one line per key, so that a line number is a key. */
export function formatSection(section: string, values: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(values).map(([key, value]) => `${formatKey(key)} = ${formatValue(value)}`)
  return `[${section}]\n${lines.join('\n')}\n`
}

/** The key on a line of what `formatSection` wrote, 1-based; undefined for the section's own line. */
export function keyOnLine(values: Readonly<Record<string, unknown>>, line: number): string | undefined {
  return Object.keys(values)[line - 2]
}

function formatKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : formatString(key)
}

function formatValue(value: unknown): string {
  if (typeof value === 'string') return formatString(value)
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (value instanceof Date) return value.toISOString()
  if (Array.isArray(value)) return `[${value.map(formatValue).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${formatKey(key)} = ${formatValue(inner)}`)
      .join(', ')} }`
  }
  throw new TypeError(`${typeof value} has no place in TOML`)
}

/** TOML's basic strings are JSON's, but for DEL, which must be escaped. */
function formatString(text: string): string {
  return JSON.stringify(text).replaceAll('\x7f', '\\u007f')
}
