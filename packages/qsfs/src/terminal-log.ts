import type { Log, LogFields } from '@qsfs/telemetry/log'

/** Says a sentence to the person at the terminal. stdout is for answers, so it goes to stderr. */
export function say(sentence: string): void {
  process.stderr.write(`qsfs: ${sentence}\n`)
}

/** What happens by itself, is no warning, and people want to know. */
const shownEvents: ReadonlySet<string> = new Set(['daemon.exchanged'])

/** The log of a command that people watch: warnings, errors and a few events as one line each. The daemons keep their own logs. */
export function terminalLog(context: LogFields = {}): Log {
  const line = (name: string, fields: LogFields = {}) => {
    const words = Object.entries({ ...context, ...fields }).map(([key, value]) => `${key}: ${textOf(value)}`)
    say(words.length === 0 ? name : `${name} (${words.join(', ')})`)
  }
  return {
    event: (name, fields) => shownEvents.has(name) && line(name, fields),
    debug: () => undefined,
    warn: line,
    error: line,
    child: fields => terminalLog({ ...context, ...fields }),
  }
}

function textOf(value: unknown): string {
  if (value instanceof Error) return value.stack ?? value.message
  return typeof value === 'string' ? value : JSON.stringify(value)
}
