import assert from 'node:assert/strict'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { askControl, type ControlHandler, serveControl } from './control.ts'
import { ExpectedFailure } from './failure.ts'
import { probeSocket } from './unix-socket.ts'

class TooFewShards extends Error {
  readonly code = 'too-few-shards'
}

const handlers: Readonly<Record<string, ControlHandler>> = {
  echo: params => params,
  nothing: () => undefined,
  count: async ({ to }, { progress }) => {
    for (let i = 1; i <= Number(to); i++) progress({ i })
    return 'counted'
  },
  refuse: () => {
    throw new TooFewShards('2 of 4 shards are left')
  },
  expect: () => {
    throw new ExpectedFailure(1, 'the disk is full')
  },
  crash: () => assert.equal(1, 2),
  wait: async (_params, { progress, signal }) => {
    progress('waiting')
    await once(signal, 'abort')
    waited.resolve()
  },
}
let waited = Promise.withResolvers<void>()

async function served() {
  const tmp = await temporaryDirectory()
  const path = join(tmp.path, 'control.sock')
  const server = await serveControl(path, handlers, silentLog)
  return {
    path,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await tmp[Symbol.asyncDispose]()
    },
  }
}

test('a question gets its answer, with progress before it', async () => {
  await using server = await served()
  assert.deepEqual(await askControl(server.path, 'echo', { a: [1, 'ü\n'] }), { a: [1, 'ü\n'] })
  assert.equal(await askControl(server.path, 'nothing'), null)
  const seen: unknown[] = []
  assert.equal(await askControl(server.path, 'count', { to: 3 }, { onProgress: value => seen.push(value) }), 'counted')
  assert.deepEqual(seen, [{ i: 1 }, { i: 2 }, { i: 3 }])
})

test('errors keep their code; bugs stay in the log', async () => {
  await using server = await served()
  await assert.rejects(askControl(server.path, 'refuse'), {
    name: 'Error',
    code: 'too-few-shards',
    message: '2 of 4 shards are left',
  })
  await assert.rejects(askControl(server.path, 'expect'), { code: 'failed', message: 'the disk is full' })
  await assert.rejects(askControl(server.path, 'crash'), { code: 'internal' })
  await assert.rejects(askControl(server.path, 'toString'), { code: 'unknown-verb' })
})

test('several questions go down one connection; what is no JSON object ends only its own', async () => {
  await using server = await served()
  const socket = connect(server.path)
  socket.write('{"verb":"echo","n":1}\n{"verb":"echo","n":2}\n[]\n')
  let text = ''
  for await (const chunk of socket) text += chunk
  assert.equal(
    text,
    '{"result":{"n":1}}\n{"result":{"n":2}}\n{"error":{"code":"malformed","message":"a line is no JSON object"}}\n',
  )
  assert.deepEqual(await askControl(server.path, 'echo'), {})
})

test('an asker that leaves aborts its handler', async () => {
  await using server = await served()
  waited = Promise.withResolvers()
  const leaving = new AbortController()
  const onProgress = () => leaving.abort(new Error('left'))
  await assert.rejects(askControl(server.path, 'wait', {}, { signal: leaving.signal, onProgress }), { message: 'left' })
  await waited.promise
})

test('closing the server ends what runs', async () => {
  const server = await served()
  waited = Promise.withResolvers()
  const started = Promise.withResolvers<unknown>()
  const asked = askControl(server.path, 'wait', {}, { onProgress: started.resolve })
  asked.catch(() => undefined)
  await started.promise
  await server[Symbol.asyncDispose]()
  await assert.rejects(asked, { code: 'unreachable' })
  await waited.promise
  await assert.rejects(askControl(server.path, 'echo'), { code: 'unreachable', exitCode: 1 })
})

test('the socket is private, a live one is refused, a dead one is removed', async () => {
  await using server = await served()
  assert.equal(statSync(server.path).mode & 0o777, 0o600)
  await assert.rejects(serveControl(server.path, {}, silentLog), {
    exitCode: 1,
    message: `the socket ${server.path} is in use by another process`,
  })

  await using tmp = await temporaryDirectory()
  const path = join(tmp.path, 'dead.sock')
  assert.equal(await probeSocket(path), 'absent')
  await using holder = spawnProcess(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`,
  ])
  await holder.waitForLine(/up/)
  assert.equal(await probeSocket(path), 'alive')
  await holder.kill9()
  assert.equal(await probeSocket(path), 'dead')
  await using second = await serveControl(path, handlers, silentLog)
  assert.equal(await askControl(path, 'nothing'), null)
  await second[Symbol.asyncDispose]()
})

test('a path that no socket can have is refused with its reason', async () => {
  await using tmp = await temporaryDirectory()
  await assert.rejects(serveControl(join(tmp.path, 'x'.repeat(100)), {}, silentLog), {
    exitCode: 2,
    message: /longer than 107 bytes/,
  })
  const file = join(tmp.path, 'file')
  writeFileSync(file, 'not a socket')
  await assert.rejects(serveControl(file, {}, silentLog))
})
