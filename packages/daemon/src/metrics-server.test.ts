import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { serveMetrics } from './metrics-server.ts'

const localhost = { host: '127.0.0.1', port: 0 }

test('only GET /metrics is answered, with what there is at that moment', async () => {
  let count = 0
  await using server = await serveMetrics(localhost, async () => `asked_total ${++count}\n`, silentLog)
  const ask = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server.port}${path}`, { method })
  const first = await ask('/metrics')
  assert.equal(first.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  assert.equal(await first.text(), 'asked_total 1\n')
  assert.equal(await (await ask('/metrics?x=y')).text(), 'asked_total 2\n')
  assert.deepEqual([(await ask('/')).status, (await ask('/metricsx')).status], [404, 404])
  assert.equal((await ask('/metrics', 'POST')).status, 405)
  assert.equal((await ask('/metrics', 'HEAD')).status, 200)
})

test('a number that cannot be had is a bug for the log, not for the asker', async () => {
  const logged: string[] = []
  const log = { ...silentLog, error: (name: string) => void logged.push(name) }
  const render = () => {
    throw new Error('secret')
  }
  await using server = await serveMetrics(localhost, render, log)
  const reply = await fetch(`http://127.0.0.1:${server.port}/metrics`)
  assert.deepEqual([reply.status, await reply.text()], [500, 'the log says why\n'])
  assert.deepEqual(logged, ['metrics.not_rendered'])
})

test('what is no HTTP, or too much of it, is cut off; an address in use is an error', async () => {
  await using server = await serveMetrics(localhost, () => '', silentLog)
  const socket = connect(server.port, '127.0.0.1')
  socket.write(`GET /metrics HTTP/1.1\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`)
  // Cut off with bytes unread: the answer may be lost with them.
  socket.on('error', () => undefined)
  let text = ''
  socket.setEncoding('latin1').on('data', chunk => {
    text += chunk
  })
  await new Promise(resolve => socket.once('close', resolve))
  assert.match(text, /^$|^HTTP\/1.1 431 /)
  await assert.rejects(
    serveMetrics({ host: '127.0.0.1', port: server.port }, () => '', silentLog),
    { code: 'EADDRINUSE' },
  )
})
