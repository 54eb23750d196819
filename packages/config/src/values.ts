import { formatDuration, formatSize, parseDuration, parseSize } from '@qsfs/bytes/units'
import { z } from 'zod'
import { fromCaller } from './caller.ts'

interface Bounds {
  readonly min?: number
  readonly max?: number
}

/** A size in bytes: a number, or text with a unit such as "64MiB". */
export function size(bounds: Bounds = {}) {
  return quantity('a size such as "64MiB"', parseSize, formatSize, bounds)
}

/** A time in milliseconds: a number of milliseconds, or text with a unit such as "10s". */
export function duration(bounds: Bounds = {}) {
  return quantity('a time such as "10s"', parseDuration, formatDuration, bounds)
}

/** A path; relative ones count from the directory of the person who started the program. */
export function path() {
  return z
    .string()
    .min(1, 'is empty')
    .transform(typed => fromCaller(typed))
}

function quantity(what: string, parse: (text: string) => number, format: (value: number) => string, bounds: Bounds) {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds
  return z.union([z.number(), z.string()], { error: `is not ${what}` }).transform((given, context): number => {
    const fail = (message: string) => {
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    }
    let value: number
    try {
      value = typeof given === 'string' ? parse(given) : given
    } catch (error) {
      if (error instanceof RangeError) return fail(error.message)
      throw error
    }
    if (!Number.isSafeInteger(value)) return fail(`is not ${what}`)
    if (value < min) return fail(`is below ${format(min)}`)
    if (value > max) return fail(`is above ${format(max)}`)
    return value
  })
}

/** `host:port` or `[v6]:port`, as what to listen on; `:port` is the default host's. */
export const listenAddress = (defaultHost: string) =>
  z.string().transform((text, context) => {
    const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(text)
    const port = Number(match?.[3])
    if (!match || port > 65_535) {
      context.addIssue({ code: 'custom', message: 'is not host:port' })
      return z.NEVER
    }
    return { host: match[1] || match[2] || defaultHost, port }
  })
