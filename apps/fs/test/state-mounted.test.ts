import { test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Stack } from './stack.ts'

const fillAndAsk = `
import errno, os

def refused(call, *codes):
    try:
        call()
    except OSError as e:
        assert e.errno in codes, e
        return
    raise AssertionError("it was not refused")

def put(name, offset, length):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY)
    try:
        os.pwrite(fd, b"x" * length, offset)
        os.fsync(fd)
    finally:
        os.close(fd)

MiB = 1024 * 1024
put("a", 0, 6 * MiB)
refused(lambda: put("b", 0, 4 * MiB), errno.ENOSPC)
refused(lambda: os.posix_fallocate(os.open("c", os.O_CREAT | os.O_WRONLY), 0, 4 * MiB), errno.ENOSPC)
put("a", 0, 6 * MiB)
room = os.statvfs(".")
assert room.f_blocks * room.f_frsize == 8 * MiB, room
assert room.f_bavail * room.f_frsize < 3 * MiB, room
os.unlink("b")
put("b", 0, 2 * MiB)
os.unlink("a")
put("b", 0, 7 * MiB)
for i in range(100):
    try:
        os.close(os.open(f"many{i}", os.O_CREAT))
    except OSError as e:
        assert e.errno == errno.ENOSPC and i == 17, (e, i)
        break

assert os.getxattr("b", "user.qsfs.state") == b"local"
blocks = os.getxattr("b", "user.qsfs.blocks").decode()
assert blocks.startswith("56 blocks, 7 MiB, in 1 segments: 56 local"), blocks
assert os.listxattr("b") == []
refused(lambda: os.setxattr("b", "user.qsfs.state", b"x"), errno.EPERM)
refused(lambda: os.removexattr("b", "user.qsfs.blocks"), errno.EPERM)
refused(lambda: os.getxattr(".", "user.qsfs.state"), errno.ENODATA)
os.fsync(os.open(".", os.O_RDONLY))
`
const stillFull = `
import errno, os
room = os.statvfs(".")
assert room.f_bavail * room.f_frsize == 1024 * 1024, room
assert room.f_favail == 0, room
`

test('a mount keeps its quota, over kill -9, and tells where bytes are', async () => {
  await using directory = await temporaryDirectory()
  await using stack = await Stack.start(directory.path, 'quota = "8MiB"\nquota_inodes = 20')
  await stack.python('-c', fillAndAsk)
  await stack.fs.kill9()
  await stack.startFs()
  await stack.python('-c', stillFull)
})
