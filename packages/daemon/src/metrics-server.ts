import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Log } from '@qsfs/telemetry/log'

const connectionsMax = 32
const requestMs = 5_000
const headerBytesMax = 8 * 1024

export interface MetricsServer extends AsyncDisposable {
  /** The one listened on, when 0 was asked for. */
  readonly port: number
}

/** Serves `GET /metrics`, Prometheus text, over plain HTTP, and nothing else. What it tells is for everybody who reaches the address.
 *  @throws the system's error when the address cannot be had */
export async function serveMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  render: () => string | Promise<string>,
  log: Log,
): Promise<MetricsServer> {
  const limits = {
    ...{ requestTimeout: requestMs, headersTimeout: requestMs, keepAliveTimeout: requestMs },
    // Node looks for those that took too long every 30 s else, and silent connections would keep the scraper out meanwhile.
    connectionsCheckingInterval: 1_000,
  }
  const server = createServer({ ...limits, maxHeaderSize: headerBytesMax }, (request, response) => {
    void answer(request, response, render, log)
  })
  server.maxConnections = connectionsMax
  const listening = once(server, 'listening')
  server.listen(port, host)
  await listening
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

async function answer(
  { method, url = '' }: IncomingMessage,
  response: ServerResponse,
  render: () => string | Promise<string>,
  log: Log,
): Promise<void> {
  const send = (status: number, body: string, headers: Record<string, string> = {}) => {
    response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body), ...headers })
    response.end(body)
  }
  if (!/^\/metrics(\?|$)/.test(url)) send(404, 'only /metrics is served\n')
  else if (method !== 'GET' && method !== 'HEAD') send(405, 'only GET is served\n', { allow: 'GET, HEAD' })
  else {
    try {
      send(200, await render(), { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
    } catch (error) {
      log.error('metrics.not_rendered', { error })
      send(500, 'the log says why\n')
    }
  }
}
