import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { isMounted } from '@qsfs/fuse/mount'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { HeldStack } from './held-stack.ts'

const busy = join(import.meta.dirname, 'busy.py')
const victimsToChoose = [['fs'], ['fs'], ['cachedb'], ['fs', 'cachedb'], ['cachedb', 'fs']] as const
/** QSFS_TEST_KILLS=20 for longer. */
const killCount = Number(process.env.QSFS_TEST_KILLS ?? 3)

test('programs see nothing but a delay when fs is exchanged, and when fs, cachedb or both are killed again and again', async t => {
  const prng = seededPrng(t)
  await using directory = await temporaryDirectory()
  await using stack = await HeldStack.start(directory.path)
  await using first = stack.python(busy, String(prng.below(1e9)))
  await using second = stack.python(busy, String(prng.below(1e9)))
  for (const program of [first, second]) await program.waitForLine(/^works$/)
  for (let i = 0; i < 2; i++) {
    await pause(300)
    await exchange(stack)
  }
  for (let i = 0, isServing = true; i < killCount; i++) {
    await pause(prng.below(700))
    // Without a server an fs that starts ends.
    const victims = isServing ? prng.pick(victimsToChoose) : (['fs'] as const)
    for (const victim of victims) await stack[victim].kill9()
    if (victims.some(victim => victim === 'cachedb')) await stack.startCachedb()
    if (victims.some(victim => victim === 'fs')) stack.spawnFs()
    // Now and then it is killed before it serves.
    isServing = prng.chance(0.8)
    if (isServing) await stack.fs.waitForLine(/mount\.ready/)
  }
  await stack.fs.waitForLine(/mount\.ready/)
  for (const program of [first, second]) {
    program.closeStdin()
    assert.equal(await program.exited, 0, program.stderr + stack.fs.stderr)
    assert.match(program.stdout, /^done \d+$/m)
  }
  assert.equal(await stack.fs.stop(), 0, stack.fs.stderr)
  const { exitCode, stdout } = await stack.fsck()
  assert.equal(exitCode, 0, stdout)
})

/** It stores everything first, and nobody loses a byte. */
async function exchange(stack: HeldStack): Promise<void> {
  process.kill(stack.fs.pid, 'SIGUSR2')
  assert.equal(await stack.fs.exited, 3, stack.fs.stderr)
  assert.match(stack.fs.stderr, /^fs: left the mount to the next fs/m)
  await stack.startFs()
  assert.match(stack.fs.stderr, /"repeatedCount":0,"filesWithLostBytes":0/)
}

test('what a killed fs leaves: open files that lost bytes, a journal that cannot be read', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await HeldStack.start(directory.path)
  await eachOpenFileIsToldOnce(stack)
  await anUnreadableJournalEndsTheMount(stack)
})

/** Those that are open say so at their next sync, one that is opened later does not. */
async function eachOpenFileIsToldOnce(stack: HeldStack): Promise<void> {
  const script = `
import ctypes, os, sys, threading
files = [os.open('file', os.O_RDWR | os.O_CREAT) for _ in range(2)]
os.fsync(files[0])
os.pwrite(files[0], b'x' * 5000, 0)
# Hands the bytes to fs, and waits for no disk.
ctypes.CDLL(None).sync_file_range(files[0], ctypes.c_long(0), ctypes.c_long(0), 7)
print('written', flush=True)
def sync(fd):
    try:
        os.fsync(fd)
        print('synced', flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
for line in sys.stdin:
    if line == 'open\\n':
        files.append(os.open('file', os.O_RDWR))
        continue
    # Whichever thread asks.
    thread = threading.Thread(target=sync, args=(files[int(line)],))
    thread.start()
    thread.join()
`
  await using first = stack.python('-c', script)
  await first.waitForLine(/^written$/)
  await using second = stack.python('-c', script)
  await second.waitForLine(/^written$/)
  await stack.fs.kill9()
  await stack.startFs()
  assert.match(stack.fs.stderr, /"filesWithLostBytes":1/)
  for (const line of ['0', '0', 'open', '2', '1', '1']) first.write(`${line}\n`)
  first.closeStdin()
  assert.equal(await first.exited, 0, first.stderr)
  const [told, fine] = ['Input/output error', 'synced']
  assert.deepEqual(first.stdout.split('\n').slice(1, -1), [told, fine, fine, told, fine])
  await using late = stack.python('-c', `import os; os.fsync(os.open('file', os.O_RDWR))`)
  assert.equal(await late.exited, 0, late.stderr)
  for (const line of ['1', '1', '0', '0']) second.write(`${line}\n`)
  second.closeStdin()
  assert.equal(await second.exited, 0, second.stderr)
  assert.deepEqual(second.stdout.split('\n').slice(1, -1), [told, fine, told, fine])
}

/** And not each fs that starts. */
async function anUnreadableJournalEndsTheMount(stack: HeldStack): Promise<void> {
  const script = `
import os, sys
os.write(os.open('synced', os.O_CREAT | os.O_WRONLY | os.O_SYNC), b'synced')
print('ready', flush=True)
sys.stdin.readline()
try:
    os.mkdir('unanswered')
    print('made')
except OSError as error:
    print(error.strerror)
`
  await using program = stack.python('-c', script)
  await program.waitForLine(/^ready$/)
  await stack.fs.kill9()
  program.write('\n')
  stack.hurtJournal(Buffer.from('1800000001000000514a4e4c630000000300000000000000', 'hex'))
  stack.spawnFs()
  assert.equal(await stack.fs.exited, 1)
  assert.match(stack.fs.stderr, /^fs: the mount .* is ended, because what the fs before had answered cannot be read/m)
  assert.equal(await program.exited, 0, program.stderr)
  assert.match(program.stdout, /^(Software caused connection abort|Transport endpoint is not connected)$/m)
  assert.equal(await isMounted(stack.mountpoint), false)
  await stack.cachedb.kill9()
  await stack.startCachedb()
  await stack.mountAnew()
  await stack.startFs()
  await using reader = stack.python('-c', `print(open('synced').read())`)
  assert.equal(await reader.exited, 0, reader.stderr)
  assert.match(reader.stdout, /^synced$/m)
}
