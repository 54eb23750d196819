import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { probePipeHandle } from './pipe-handle.ts'
import { openPoolReader } from './pool-reader.ts'
import { MemoryFilesystem } from './testing/memory-filesystem.ts'
import { mounted } from './testing/mounted.ts'

const readers = { epoll: probePipeHandle(), 'pool reads': openPoolReader }

for (const [name, openReader] of Object.entries(readers)) {
  test(`files through a mount read by ${name}`, async () => {
    assert(openReader, 'this Node has no Pipe handle as we know it')
    const filesystem = new MemoryFilesystem()
    await using mount = await mounted(filesystem, { openReader })
    assert.equal(await mount.sh('echo hello > a; cat a; stat -c "%s %a %h" a; test ! -e b'), 'hello\n6 644 1\n')
    // 3 MiB and a bit in 1 MiB writes, read back through a cold page cache.
    await mount.sh(
      'head -c 3200000 /dev/urandom > big; sha256sum big > sum; echo 3 > /proc/sys/vm/drop_caches; sha256sum -c sum',
    )
    assert.match(await mount.sh('truncate -s 5 a; echo -n xyz >> a; cat a; : > a; stat -c %s a'), /^helloxyz0\n$/)
    await mount.sh('ln -s some/target s; test "$(readlink s)" = some/target')
    await mount.sh('ln a a2; test "$(stat -c %h a)" = 2; rm a2; test "$(stat -c %h a)" = 1')
    await mount.sh(
      'umask 027; mkdir d; : > d/f; mkfifo d/p; test "$(stat -c %a d d/f d/p | tr "\\n" " ")" = "750 640 640 "',
    )
    await mount.sh('mv d e; mv e/f f; test -e f; test ! -e d; rmdir e 2>/dev/null && exit 1; rm e/p; rmdir e')
    await mount.sh('chmod 4711 f; chown 12:34 f; test "$(stat -c "%a %u %g" f)" = "711 12 34"')
    await mount.sh('touch -d "1969-07-20 20:17:40.123456789 UTC" f; test "$(stat -c %.9Y f)" = -14182939.876543211')
    await mount.sh('df --output=itotal,fstype . | grep -q "1000000 fuse.qsfs"')
    await mount.sh('exec 3<>f; rm f; echo unlinked >&3; test "$(cat /proc/self/fd/3)" = unlinked')
  })
}

test('names are bytes, 255 at most', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  const script = `
import os
name = bytes(range(1, 47)) + bytes(range(48, 256))
name += b'x' * (255 - len(name))
open(name, 'w').close()
assert os.listdir(b'.') == [name]
try: open(b'y' * 256, 'w'); raise SystemExit('too long was taken')
except OSError as e: assert e.errno == 36, e
`
  await mount.python(script)
})

test('a directory of 5,000 names, each once, with its attributes', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  await mount.python('for i in range(5000): open("name-%d" % i, "w").close()')
  const listing = await mount.python(
    'import os; print(sorted(os.listdir(".")) == sorted("name-%d" % i for i in range(5000)))',
  )
  assert.equal(listing, 'True\n')
  await mount.sh('echo 2 > /proc/sys/vm/drop_caches')
  const before = mount.counts.of('LOOKUP')
  assert.equal(await mount.sh('ls -l | tail -n +2 | wc -l'), '5000\n')
  assert(mount.counts.of('READDIRPLUS') > 0)
  assert(mount.counts.of('LOOKUP') - before < 500, 'readdirplus brings the entries along')
})

test('rename keeps, replaces, exchanges or refuses', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  const script = `
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def rename2(a, b, flags):
    if libc.renameat2(-100, a, -100, b, flags) != 0: raise OSError(ctypes.get_errno(), 'renameat2')
open('a', 'w').write('A'); open('b', 'w').write('B')
try: rename2(b'a', b'b', 1); raise SystemExit('NOREPLACE replaced')
except OSError as e: assert e.errno == errno.EEXIST, e
rename2(b'a', b'b', 2)
assert (open('a').read(), open('b').read()) == ('B', 'A')
os.rename('a', 'b')
assert open('b').read() == 'B' and not os.path.exists('a')
`
  await mount.python(script)
})

test('extended attributes', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  const script = `
import os, errno
open('f', 'w').close()
os.setxattr('f', 'user.a', b'x' * 60000); os.setxattr('f', 'user.b', b'')
assert os.getxattr('f', 'user.a') == b'x' * 60000 and os.getxattr('f', 'user.b') == b''
assert sorted(os.listxattr('f')) == ['user.a', 'user.b']
try: os.setxattr('f', 'user.a', b'', os.XATTR_CREATE); raise SystemExit('XATTR_CREATE replaced')
except OSError as e: assert e.errno == errno.EEXIST, e
os.removexattr('f', 'user.a')
try: os.getxattr('f', 'user.a'); raise SystemExit('still there')
except OSError as e: assert e.errno == errno.ENODATA, e
`
  await mount.python(script)
})

test('the kernel permits by mode, and whoever may not gets EACCES', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  await mount.sh('echo secret > f; chmod 600 f')
  await mount.python(`
import os
os.setgid(12345); os.setuid(12345)
try: open('f'); raise SystemExit('read')
except PermissionError: pass
`)
})

test('a read that hangs ends when its reader is interrupted, and the filesystem goes on', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  await mount.sh(': > hang; truncate -s 4096 hang')
  const reader = spawn('sh', ['-c', 'exec cat "$0"/hang', mount.mountpoint], { stdio: 'ignore' })
  while (mount.counts.of('READ') === 0) await sleep(5)
  assert.equal(await mount.sh('echo still here > f; cat f'), 'still here\n')
  reader.kill('SIGINT')
  const [, signal] = await once(reader, 'exit')
  assert.equal(signal, 'SIGINT')
  assert(mount.counts.of('INTERRUPT') > 0)
})

test('what the kernel was told of it forgets again', async () => {
  const filesystem = new MemoryFilesystem()
  await using mount = await mounted(filesystem)
  await mount.sh('mkdir d; for i in $(seq 200); do : > d/$i; done; ls -l d > /dev/null; cat d/*')
  assert.equal(filesystem.lookupCounts.size, 201)
  await mount.sh('rm -r d; echo 2 > /proc/sys/vm/drop_caches')
  while (filesystem.lookupCounts.size > 0) await sleep(5)
  assert(mount.counts.of('FORGET') + mount.counts.of('BATCH_FORGET') > 0)
})

test('close asks for nothing when the filesystem has no flush, and what it does not serve is asked once', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  await mount.sh('for i in $(seq 20); do echo x > f$i; done')
  assert.equal(mount.counts.of('FLUSH'), 1)
  // Each ENOSYS is remembered by the kernel, of what we know and of what we do not.
  await mount.sh('for i in $(seq 20); do stat f$i > /dev/null; cp f$i g$i; done; cmp f7 g7')
  const { counts } = mount
  assert.equal(counts.of('COPY_FILE_RANGE'), 1)
  assert(counts.of('COPY_FILE_RANGE_64') <= 1)
  assert(counts.of('unknown') <= 6, `${counts.of('unknown')} requests we do not know`)
})

test('unmounting writes what is dirty, drains, and tells the filesystem', async () => {
  const filesystem = new MemoryFilesystem()
  {
    await using mount = await mounted(filesystem)
    await mount.sh('head -c 1000000 /dev/zero > f')
    assert.equal(filesystem.destroyed, false)
  }
  assert.equal(filesystem.destroyed, true)
  const file = filesystem.lookup(1, Buffer.from('f'))
  assert.equal(file?.attr.sizeBytes, 1_000_000)
})
