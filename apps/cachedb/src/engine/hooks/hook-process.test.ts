import assert from 'node:assert/strict'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Clock, systemClock } from '@qsfs/concurrency/clock'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { type OutputPipe, PipeStock } from './hook-pipes.ts'
import { HookProcess } from './hook-process.ts'

const id = '00112233445566778899aabbccddeeff'
/** Ten seconds are 100 ms. */
const fastClock: Clock = {
  ...systemClock,
  schedule: (delayMs, action) => systemClock.schedule(delayMs / 100, action),
}
const pipes = new PipeStock()
const takePipe = (): OutputPipe | null => pipes.take()
const kill = (groupId: number): void => void process.kill(-groupId, 'SIGKILL')

async function script(t: { after(action: () => PromiseLike<void>): void }, text: string): Promise<string> {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const path = join(directory.path, 'hook.sh')
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, 0o755)
  return path
}

function start(
  path: string,
  { clock = systemClock, timeoutMs = 30_000, killer = kill, args = ['ready'], openPipe = takePipe } = {},
) {
  const said: string[] = []
  const request = { id: 1, path, args, env: {}, timeoutMs, outlives: false }
  const hook = new HookProcess(request, {
    clock,
    openPipe,
    environment: process.env,
    kill: killer,
    say: text => void said.push(text),
  })
  return { hook, said }
}

test('megabytes on both outputs: the line is found, the log gets the beginning, the reason is the last line', async t => {
  const noise = 'head -c 5000000 /dev/zero | tr "\\0" x'
  const path = await script(t, `echo stored ${id}; ${noise}; ${noise} >&2; echo >&2; echo no room >&2; exit 3`)
  const { hook, said } = start(path)
  assert.deepEqual(await hook.ended, { result: 'failed', exitCode: 3, reason: 'exited with 3: no room', objectId: id })
  assert(said.join('').length < 200_000)
})

test('outputs can be opened by name; where no pipes are to be had, sockets do', async t => {
  const byName = `echo stored ${id} >> /dev/stdout; echo lost | tee /dev/stderr >&2; echo no room > /dev/stderr; exit 3`
  assert.deepEqual(await start(await script(t, byName)).hook.ended, {
    result: 'failed',
    exitCode: 3,
    reason: 'exited with 3: no room',
    objectId: id,
  })
  const plain = start(await script(t, `echo stored ${id}; echo no room >&2; exit 3`), { openPipe: () => null })
  assert.equal((await plain.hook.ended).reason, 'exited with 3: no room')
})

test('what cannot be started is no exit code', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const plain = join(directory.path, 'plain')
  writeFileSync(plain, '#!/bin/sh\n')
  const missing = join(directory.path, 'missing')
  for (const path of [missing, plain, directory.path]) {
    const end = await start(path).hook.ended
    assert.deepEqual([end.result, end.exitCode], ['not_run', null], path)
  }
  // More than one argument may hold, and one that no program can be given.
  const good = await script(t, 'exit 0')
  assert.match((await start(good, { args: ['ready', 'x'.repeat(200_000)] }).hook.ended).reason, /E2BIG/)
  assert.equal((await start(good, { args: ['ready', 'a\0b'] }).hook.ended).result, 'not_run')
})

test('a signal and a time limit are told apart', async t => {
  const killed = await start(await script(t, `echo stored ${id}; kill -SEGV $$`)).hook.ended
  assert.deepEqual([killed.result, killed.reason], ['killed', 'was killed by SIGSEGV'])
  const late = await start(await script(t, 'trap "" TERM; sleep 60'), { clock: fastClock, timeoutMs: 5_000 }).hook.ended
  assert.deepEqual([late.result, late.reason], ['timeout', 'did not end within 5000 ms'])
})

test('a process that SIGKILL does not end is given up', async t => {
  let groupId = 0
  const { hook } = start(await script(t, 'sleep 60'), {
    clock: fastClock,
    timeoutMs: 1_000,
    killer: id => {
      groupId = id
    },
  })
  t.after(() => kill(groupId))
  const end = await hook.ended
  assert.deepEqual([end.result, end.reason], ['timeout', 'did not end within 1000 ms, nor 5000 ms after SIGKILL'])
  assert.equal(groupId, hook.pid)
})

test('what it leaves in the background may go on writing, and does not hold it up', async t => {
  const directory = await temporaryDirectory()
  t.after(() => directory[Symbol.asyncDispose]())
  const alive = join(directory.path, 'alive')
  const path = await script(t, `(sleep 0.5; echo uploaded && echo uploaded >&2 && echo yes > '${alive}') & exit 0`)
  assert.equal((await start(path).hook.ended).result, 'ok')
  while (!existsSync(alive)) await new Promise(resolve => setTimeout(resolve, 20))
})
