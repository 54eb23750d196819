import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Log } from '@qsfs/telemetry/log'
import { expectedEnd } from './failure.ts'
import { encodeMessage, type Message, messagesOf } from './json-lines.ts'
import { listenUnix } from './unix-socket.ts'

/** Answers one verb. `params` are a stranger's: check them. An error with a string `code` reaches the asker with it. */
export type ControlHandler = (params: Message, context: ControlContext) => unknown

export interface ControlContext {
  /** Sends an intermediate answer. */
  readonly progress: (value: unknown) => void
  /** Aborted when the asker is gone, or the daemon stops. */
  readonly signal: AbortSignal
}

/** What went wrong at the other end, with its code. */
export class ControlError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Nobody answers at the socket, or the connection broke before the answer. Exit code 1. */
export class ControlUnreachable extends Error {
  readonly code = 'unreachable'
  readonly exitCode = 1
}

/** Serves a control socket (mode 0600): a line `{verb, ...params}` is answered by lines `{progress}`, then `{result}` or
 *  `{error: {message, code}}`. One connection may ask again; closing it, or its writing half, ends what it asked for. Disposing closes it and ends what runs.
 *  @throws ExpectedFailure when the socket is in use */
export async function serveControl(
  path: string,
  handlers: Readonly<Record<string, ControlHandler>>,
  log: Log,
): Promise<AsyncDisposable> {
  const connections = new Map<Socket, Promise<void>>()
  const server = createServer(socket => {
    const served = serveConnection(socket, handlers, log).finally(() => connections.delete(socket))
    connections.set(socket, served)
  })
  server.maxConnections = 256
  await listenUnix(server, path)
  return {
    async [Symbol.asyncDispose]() {
      if (server.listening) server.close()
      for (const socket of connections.keys()) socket.destroy()
      await Promise.all(connections.values())
    },
  }
}

async function serveConnection(
  socket: Socket,
  handlers: Readonly<Record<string, ControlHandler>>,
  log: Log,
): Promise<void> {
  const gone = new AbortController()
  const leave = () => gone.abort(new ControlUnreachable('the asker is gone'))
  socket.once('close', leave)
  socket.on('error', error => log.debug('control.connection_lost', { error }))
  // A malformed line is answered too, so its iterator must not destroy the socket.
  const requests = messagesOf(socket.iterator({ destroyOnReturn: false }))
  try {
    let next = requests.next()
    for (;;) {
      const { done, value: request } = await next
      if (done) return
      // Reading on while the handler works is how the end of the connection is noticed.
      next = requests.next()
      next.then(({ done }) => done && leave(), leave)
      const answer = await answerTo(request, handlers, log, {
        progress: value => void socket.write(encodeMessage({ progress: value })),
        signal: gone.signal,
      })
      if (!socket.write(encodeMessage(answer))) await once(socket, 'drain', { signal: gone.signal })
    }
  } catch (error) {
    if (!socket.destroyed)
      socket.end(encodeMessage({ error: { code: 'malformed', message: (error as Error).message } }))
  }
}

async function answerTo(
  request: Message,
  handlers: Readonly<Record<string, ControlHandler>>,
  log: Log,
  context: ControlContext,
): Promise<Message> {
  const { verb, ...params } = request
  if (typeof verb !== 'string' || !Object.hasOwn(handlers, verb)) {
    return { error: { code: 'unknown-verb', message: `known verbs are ${Object.keys(handlers).join(', ')}` } }
  }
  try {
    return { result: (await handlers[verb]!(params, context)) ?? null }
  } catch (error) {
    const told = tellable(error)
    if (told !== null) return { error: told }
    log.error('control.handler_failed', { verb, error })
    return { error: { code: 'internal', message: `${verb} failed unexpectedly; the log says why` } }
  }
}

/** An error that its asker should see: one with a code of ours, or an expected failure. null: a bug, for the log only. */
function tellable(error: unknown): { readonly code: string; readonly message: string } | null {
  if (!(error instanceof Error)) return null
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null
  // ERR_… are Node's own: an assertion, a wrong argument.
  if (code !== null && !code.startsWith('ERR_')) return { code, message: error.message }
  return expectedEnd(error) === null ? null : { code: 'failed', message: error.message }
}

export interface AskOptions {
  readonly onProgress?: (value: unknown) => void
  readonly signal?: AbortSignal
}

/** Asks a control socket one thing. The answer is a stranger's: check its shape.
 *  @throws ControlUnreachable, ControlError, or the signal's reason */
export async function askControl(
  path: string,
  verb: string,
  params: Message = {},
  options: AskOptions = {},
): Promise<unknown> {
  const { onProgress, signal } = options
  signal?.throwIfAborted()
  const socket = connect({ path })
  const onAbort = () => socket.destroy()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    socket.write(encodeMessage({ ...params, verb }))
    for await (const answer of messagesOf(socket)) {
      if ('progress' in answer) onProgress?.(answer.progress)
      else return resultOf(answer)
    }
    throw new ControlUnreachable(`${path} closed the connection before it answered`)
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof ControlError || error instanceof ControlUnreachable) throw error
    throw new ControlUnreachable(`nobody answers at ${path}: ${(error as Error).message}`, { cause: error })
  } finally {
    signal?.removeEventListener('abort', onAbort)
    socket.destroy()
  }
}

function resultOf(answer: Message): unknown {
  if ('result' in answer) return answer.result
  const { code, message } = (answer.error ?? {}) as { readonly code?: unknown; readonly message?: unknown }
  throw new ControlError(String(code), String(message))
}
