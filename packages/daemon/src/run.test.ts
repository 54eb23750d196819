import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { type TemporaryDirectory, temporaryDirectory } from '@qsfs/testkit/tmp'

const runUrl = import.meta.resolve('./run.ts')
const lockUrl = import.meta.resolve('./lock-file.ts')

/** A daemon whose main has this body. */
function daemon(tmp: TemporaryDirectory, body: string, args: readonly string[] = [], env: Record<string, string> = {}) {
  const file = join(tmp.path, `${Math.random()}.ts`)
  writeFileSync(
    file,
    `import { ExpectedFailure, runDaemon } from ${JSON.stringify(runUrl)}
     import { lockFile } from ${JSON.stringify(lockUrl)}
     await runDaemon('sample', async ({ signal, stack, log, argv, stop }) => {
       stack.defer(() => console.log('disposed'));
       ${body}
       console.log('up ' + argv.join(' '))
     })`,
  )
  return spawnProcess(process.execPath, [file, ...args], { env })
}

test('SIGTERM and SIGINT dispose what was opened and exit 0', async () => {
  await using tmp = await temporaryDirectory()
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    await using child = daemon(tmp, '', ['--', 'a', 'b'])
    await child.waitForLine(/^up a b$/)
    process.kill(child.pid, name)
    assert.equal(await child.exited, 0)
    assert.match(child.stdout, /disposed/)
    assert.match(child.stderr, /"event":"daemon.signalled"/)
  }
})

test('a supervised daemon stops when its stdin closes, another does not', async () => {
  await using tmp = await temporaryDirectory()
  await using child = daemon(tmp, '', ['--supervised', 'x'])
  await child.waitForLine(/^up x$/)
  child.closeStdin()
  assert.equal(await child.exited, 0)
  assert.match(child.stdout, /disposed/)

  await using other = daemon(tmp, `process.stdin.on('end', () => console.log('ended')).resume()`)
  await other.waitForLine(/^up/)
  other.closeStdin()
  await other.waitForLine(/ended/)
  assert.equal(await other.stop(), 0)
})

for (const [what, body, code, stderr] of [
  [
    'an expected failure is one sentence',
    `throw new ExpectedFailure(2, 'the mountpoint is a file')`,
    2,
    /^sample: the mountpoint is a file$/m,
  ],
  [
    'a system error names its call',
    `(await import('node:fs')).readFileSync('/nowhere')`,
    1,
    /^sample: ENOENT: no such file or directory, open '\/nowhere'$/m,
  ],
  ['a bug is logged with its stack', `null.x`, 1, /"event":"daemon.failed".*TypeError/],
  [
    'stop with an error is a failure',
    `stop(new ExpectedFailure(1, 'the mount is gone'))`,
    1,
    /^sample: the mount is gone$/m,
  ],
  [
    'a failing disposal is a failure',
    `stack.defer(() => { throw new ExpectedFailure(1, 'cannot flush') }); stop()`,
    1,
    /^sample: cannot flush$/m,
  ],
] as const) {
  test(`${what}, and everything is disposed`, async () => {
    await using tmp = await temporaryDirectory()
    await using child = daemon(tmp, body)
    assert.equal(await child.exited, code)
    assert.match(child.stderr, stderr)
    assert.match(child.stdout, /disposed/)
  })
}

test('the log level comes from the environment, and is checked', async () => {
  await using tmp = await temporaryDirectory()
  await using quiet = daemon(tmp, 'stop()', [], { QSFS_LOG_LEVEL: 'error' })
  assert.equal(await quiet.exited, 0)
  assert.equal(quiet.stderr, '')
  await using wrong = daemon(tmp, '', [], { QSFS_LOG_LEVEL: 'loud' })
  assert.equal(await wrong.exited, 2)
  assert.match(wrong.stderr, /one of debug, info, warn, error, silent, not loud/)
})

test('a lock is refused while another holds it, waited for if asked, and gone with kill -9', async () => {
  await using tmp = await temporaryDirectory()
  const path = JSON.stringify(join(tmp.path, '.lockfile'))
  await using holder = daemon(tmp, `stack.use(lockFile(${path}, 'the data'))`)
  await holder.waitForLine(/^up/)
  await using second = daemon(tmp, `stack.use(lockFile(${path}, 'the data'))`)
  assert.equal(await second.exited, 1)
  assert.match(second.stderr, /sample: the data is in use by another process/)

  await using waiting = daemon(
    tmp,
    `console.log('waits'); stack.use(lockFile(${path}, 'the data', { waitSeconds: 20 }))`,
  )
  await waiting.waitForLine(/waits/)
  await holder.kill9()
  await waiting.waitForLine(/^up/)
  assert.equal(await waiting.stop(), 0)
  await using third = daemon(tmp, `stack.use(lockFile(${path}, 'the data')); stop()`)
  assert.equal(await third.exited, 0)
})

test('without flock(1) the sentence says what to install', async () => {
  await using tmp = await temporaryDirectory()
  const path = JSON.stringify(join(tmp.path, '.lockfile'))
  await using child = daemon(tmp, `stack.use(lockFile(${path}, 'the data'))`, [], { PATH: tmp.path })
  assert.equal(await child.exited, 1)
  assert.match(child.stderr, /install util-linux/)
})
