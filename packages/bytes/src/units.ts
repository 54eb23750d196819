export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB

const bytesPerUnit: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB,
  MiB,
  GiB,
  TiB,
  PiB: 1024 * TiB,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
}

const millisecondsPerUnit: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 }

/** "64MiB", "1.5 GiB", "10MB", "4096" → bytes. Binary units have an i, decimal ones do not.
 *  @throws RangeError with a sentence for people */
export function parseSize(text: string): number {
  const bytes = parseWithUnit(text, bytesPerUnit)
  if (bytes === null || !Number.isSafeInteger(bytes)) {
    throw new RangeError(`"${text}" is no size; write a number of bytes, or one with a unit, such as "64MiB" or "10GB"`)
  }
  return bytes
}

/** Bytes → "64 MiB": the biggest binary unit that leaves a number from 1 on, with three digits at most. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 1023.5 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${round(value)} ${units[unit]}`
}

/** "500ms", "10s", "2m", "24h", "7d" → milliseconds.
 *  @throws RangeError with a sentence for people */
export function parseDuration(text: string): number {
  const milliseconds = /[a-z]$/.test(text) ? parseWithUnit(text, millisecondsPerUnit) : null
  if (milliseconds === null || !Number.isSafeInteger(milliseconds)) {
    throw new RangeError(`"${text}" is no duration; write a number with a unit: "500ms", "10s", "2m", "24h" or "7d"`)
  }
  return milliseconds
}

/** Milliseconds → "1.5 s", in the biggest unit that leaves a number from 1 on. */
export function formatDuration(milliseconds: number): string {
  const units = Object.entries(millisecondsPerUnit).reverse()
  const [unit, length] = units.find(([, length]) => Math.abs(milliseconds) >= length) ?? ['ms', 1]
  return `${round(milliseconds / length)} ${unit}`
}

function parseWithUnit(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text.trim())
  const scale = match && Object.hasOwn(units, match[2]!) ? units[match[2]!] : undefined
  return match && scale !== undefined ? Math.round(Number(match[1]) * scale * 1000) / 1000 : null
}

function round(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return String(Number(value.toFixed(digits)))
}

/** A number and what it counts, as one says it: `1 object`, `2 objects`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
