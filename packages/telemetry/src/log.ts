import { type Logger, pino } from 'pino'

/** Events with fields: `log.event('segment.closed', { segmentId, sizeBytes })`. Names are noun.past-verb, units are in
 *  the keys. Secrets and payloads never go in. */
export interface Log {
  event(name: string, fields?: LogFields): void
  warn(name: string, fields?: LogFields): void
  error(name: string, fields?: LogFields): void
  debug(name: string, fields?: LogFields): void
  /** A log whose every line carries these fields too. */
  child(fields: LogFields): Log
}

/** An `error` field with an Error is written with its message, code, stack and causes. */
export type LogFields = Readonly<Record<string, unknown>>

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

export interface LogOptions {
  readonly name: string
  readonly level: LogLevel
  /** Appended to; stderr without it. */
  readonly logFile?: string
}

/** JSON lines on stderr or in a file, written before the call returns: a daemon that dies has said why.
 *  @throws the system's error when the file cannot be opened */
export function createLog({ name, level, logFile }: LogOptions): Log {
  const destination = pino.destination({ dest: logFile ?? 2, sync: true })
  return wrap(
    pino(
      { name, level, base: { pid: process.pid }, serializers: { error: pino.stdSerializers.errWithCause } },
      destination,
    ),
  )
}

/** Says nothing. */
export const silentLog: Log = {
  event: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  debug: () => undefined,
  child: () => silentLog,
}

function wrap(logger: Logger): Log {
  return {
    event: (name, fields) => logger.info({ event: name, ...fields }),
    warn: (name, fields) => logger.warn({ event: name, ...fields }),
    error: (name, fields) => logger.error({ event: name, ...fields }),
    debug: (name, fields) => logger.debug({ event: name, ...fields }),
    child: fields => wrap(logger.child(fields)),
  }
}
