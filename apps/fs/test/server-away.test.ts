import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { HeldStack } from './held-stack.ts'

/** Reads programs from stdin, one line of Python each, and says what each printed or raised. */
const interpreter = `
import os, sys, time
for line in sys.stdin:
    try:
        exec(line)
        print('ok', flush=True)
    except OSError as error:
        print('failed:', error.strerror, flush=True)
`

/** A shell that works in the mount: each line's outcome is awaited in order. */
class Shell implements AsyncDisposable {
  readonly #process: ReturnType<HeldStack['python']>
  #outcomes = 0

  constructor(stack: HeldStack) {
    this.#process = stack.python('-c', interpreter)
  }
  start(line: string): void {
    this.#process.write(`${line}\n`)
  }
  async outcome(): Promise<string> {
    const index = this.#outcomes++
    let isOver = false
    this.#process.exited.then(() => {
      isOver = true
    })
    for (;;) {
      const said = this.#process.stdout.split('\n').slice(0, -1)
      if (said[index] !== undefined) return said[index]
      assert.ok(!isOver, this.#process.stderr)
      await pause(10)
    }
  }
  run(line: string): Promise<string> {
    this.start(line)
    return this.outcome()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.kill9()
  }
}

const waits = 'read_wait = "1s"\nwrite_wait = "1s"\ndirty_bytes = "4MiB"\nblock_cache_bytes = "1MiB"'
/** Away: stopped and silent, or dead. */
const ways = ['SIGSTOP', 'SIGKILL'] as const

for (const way of ways) {
  test(`while cachedb is away by ${way}, what is in memory works, the rest waits its time, and all of it heals`, async () => {
    await using directory = await temporaryDirectory()
    await using stack = await HeldStack.start(directory.path, waits)
    await using shell = new Shell(stack)
    await using other = new Shell(stack)
    assert.equal(
      await shell.run(`open('small', 'w').write('cached'); open('big', 'wb').write(b'b' * (16 << 20)); os.sync()`),
      'ok',
    )
    // Out of the kernel's cache, and more than fs keeps itself.
    const drop = `f = os.open('big', os.O_RDONLY); os.posix_fadvise(f, 0, 0, os.POSIX_FADV_DONTNEED)`
    assert.equal(await shell.run(`${drop}; os.pread(f, 4096, 15 << 20); os.listdir('.')`), 'ok')

    if (way === 'SIGKILL') await stack.cachedb.kill9()
    else process.kill(stack.cachedb.pid, 'SIGSTOP')
    try {
      const cached = `assert open('small').read() == 'cached' and 'big' in os.listdir('.') and os.stat('big').st_size == 16 << 20`
      assert.equal(await shell.run(cached), 'ok')
      assert.equal(await shell.run(`assert os.statvfs('.').f_namemax == 255`), 'ok')
      assert.equal(await shell.run(`open('new', 'w').write('buffered')`), 'ok')
      other.start(`os.pread(os.open('big', os.O_RDONLY), 4096, 0)`)
      assert.equal(await other.outcome(), 'failed: Input/output error')
      assert.match(stack.fs.stderr, /"event":"fuse.failed","opcode":"READ","nodeId":\d+,"code":"EIO","reason":".+/)
      assert.equal(await shell.run(`os.fsync(os.open('new', os.O_RDWR))`), 'failed: Input/output error')
      // Nobody else waits while one does.
      assert.equal(await shell.run(cached), 'ok')
    } finally {
      if (way === 'SIGKILL') await stack.startCachedb()
      else process.kill(stack.cachedb.pid, 'SIGCONT')
    }
    const healed = `
f = os.open('new', os.O_RDWR)
for attempt in range(300):
    try:
        os.fsync(f)
        break
    except OSError:
        time.sleep(0.05)
else:
    raise OSError(5, 'never heals')
`
    const line = `exec(${JSON.stringify(healed)})`
    assert.equal(await shell.run(line), 'ok')
    assert.equal(await shell.run(`assert os.pread(os.open('big', os.O_RDONLY), 4, 0) == b'bbbb'`), 'ok')
    assert.equal(await shell.run(`assert open('new').read() == 'buffered'`), 'ok')
    assert.equal(await stack.fs.stop(), 0, stack.fs.stderr)
  })
}

test('Ctrl-C ends a read or an fsync that waits for the server; a write that finds no room waits, and succeeds', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await HeldStack.start(
    directory.path,
    'read_wait = "20s"\nblock_cache_bytes = "1MiB"\ndirty_bytes = "4MiB"',
  )
  await using shell = new Shell(stack)
  const write = `f = open('big', 'wb'); f.write(b'b' * (16 << 20)); os.fsync(f.fileno())`
  assert.equal(await shell.run(write), 'ok')
  assert.equal(await shell.run(`os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)`), 'ok')
  const waits = `
import os, signal, sys
fd = os.open('big', os.O_RDWR)
if sys.argv[1] == 'read':
    signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    print('waits', flush=True)
    os.pread(fd, 4096, 1 << 20) if sys.argv[1] == 'read' else (os.pwrite(fd, b'c', 0), os.fsync(fd))
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGTERM)
`
  process.kill(stack.cachedb.pid, 'SIGSTOP')
  try {
    // The kernel lets go of a reader of its cache when the signal kills, of one who syncs when fs answers.
    for (const [how, end] of [
      ['read', 'SIGINT'],
      ['sync', 'SIGTERM'],
    ] as const) {
      await using program = stack.python('-c', waits, how)
      await program.waitForLine(/^waits$/)
      await pause(200)
      process.kill(program.pid, 'SIGINT')
      assert.equal(await program.exited, end, program.stderr)
    }
    shell.start(`w = open('waits', 'wb'); w.write(b'w' * (12 << 20)); w.flush(); os.fsync(w.fileno())`)
    await pause(200)
  } finally {
    process.kill(stack.cachedb.pid, 'SIGCONT')
  }
  assert.equal(await shell.outcome(), 'ok', stack.fs.stderr)
  assert.equal(await shell.run(`assert os.pread(os.open('big', os.O_RDONLY), 4, 0)[1:] == b'bbb'`), 'ok')
})
