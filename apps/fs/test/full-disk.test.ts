import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { HeldStack } from './held-stack.ts'

/** Fills the filesystem; then everything but writing works, room comes back by deleting, and what was told to be there is. */
const fill = `
import errno, os, time

def until(what, done):
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(what)

os.mkdir('kept')
with open('kept/file', 'wb') as file:
    file.write(b'kept' * 1000)
    os.fsync(file.fileno())
written, told = [], None
for n in range(400):
    name = f'filler-{n}'
    try:
        with open(name, 'wb') as file:
            file.write(bytes([n % 251 + 1]) * (1 << 20))
            os.fsync(file.fileno())
        written.append(name)
    except OSError as error:
        told = error.errno
        break
assert told == errno.ENOSPC, (told, len(written))
print('full', len(written), flush=True)

# Told, not wedged: names, attributes and reads go on.
assert len(os.listdir('.')) >= len(written) + 1
assert open('kept/file', 'rb').read() == b'kept' * 1000
assert open(written[0], 'rb').read() == b'\\x01' * (1 << 20)
os.stat(written[-1])
os.statvfs('.')

# The one that was refused goes too: its bytes are kept and tried again, also at the end, where too little room may be free yet.
for n in range(len(written) // 2, len(written) + 1):
    if os.path.exists(f'filler-{n}'):
        os.unlink(f'filler-{n}')
print('deleted', flush=True)

def fits():
    try:
        with open('again', 'wb') as file:
            file.write(b'again')
            os.fsync(file.fileno())
        return True
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EIO), error
        return False

until('deleting makes room', fits)
for n, name in enumerate(written):
    if os.path.exists(name):
        assert open(name, 'rb').read() == bytes([n % 251 + 1]) * (1 << 20), name
print('healed', flush=True)
`

test('a full disk is ENOSPC, reads and deletes go on, and deleting heals it', async () => {
  await using directory = await temporaryDirectory()
  const cachedbKeys = 'segment_bytes = "4MiB"\ncache_bytes = "48MiB"'
  await using stack = await HeldStack.start(directory.path, 'write_wait = "2s"\ndirty_bytes = "8MiB"', cachedbKeys)
  await using program = stack.python('-c', fill)
  assert.equal(await program.exited, 0, program.stdout + program.stderr + stack.fs.stderr.slice(-3000))
  assert.equal(await stack.fs.stop(), 0, stack.fs.stderr)
})
