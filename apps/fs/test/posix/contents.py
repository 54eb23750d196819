"""The bytes of files: sparse, appended, truncated, mapped, long."""
import errno, mmap, os, random, stat
from common import drop_caches, fails, get, in_child, main, put


def sparse_and_truncate():
    fd = os.open('sp', os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b'end', 1 << 40)
    os.fsync(fd)
    assert os.fstat(fd).st_size == (1 << 40) + 3 and os.fstat(fd).st_blocks < 1024
    assert os.pread(fd, 10, 12345) == b'\0' * 10 and os.pread(fd, 3, 1 << 40) == b'end'
    os.ftruncate(fd, 10)
    os.ftruncate(fd, (1 << 40) + 3)
    assert os.pread(fd, 3, 1 << 40) == b'\0\0\0'
    os.ftruncate(fd, 0)
    os.pwrite(fd, b'A' * 200000, 0)
    os.ftruncate(fd, 100)
    os.ftruncate(fd, 150000)
    assert os.pread(fd, 150000, 0) == b'A' * 100 + b'\0' * 149900
    os.close(fd)
    put('sp', b'short')
    assert get('sp') == b'short'
    os.unlink('sp')


def sixteen_tebibytes():
    fd = os.open('huge', os.O_CREAT | os.O_RDWR)
    end = 1 << 44
    os.pwrite(fd, b'last', end - 4)
    os.pwrite(fd, b'middle', end // 2 - 3)
    os.fsync(fd)
    drop_caches(1)
    assert os.fstat(fd).st_size == end and os.pread(fd, 10, end - 4) == b'last'
    assert os.pread(fd, 8, end // 2 - 4) == b'\0middle\0'
    fails(errno.EFBIG, os.ftruncate, fd, 1 << 60)
    os.ftruncate(fd, end // 2)
    assert os.pread(fd, 10, end // 2 - 3) == b'mid'
    os.close(fd)
    os.unlink('huge')


def appended():
    data = b''
    for i in range(300):
        with open('log', 'ab') as f:
            f.write(b'%d line\n' % i)
        data += b'%d line\n' % i
    assert get('log') == data
    os.unlink('log')


def appended_together():
    """Four processes, each line whole, none lost: O_APPEND puts every write at the end there is then."""
    children = []
    for who in range(4):
        child = os.fork()
        if child == 0:
            fd = os.open('log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for i in range(200):
                os.write(fd, b'%d:%d\n' % (who, i))
            os._exit(0)
        children.append(child)
    assert all(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 for child in children)
    lines = get('log').split()
    assert len(lines) == 800 and set(lines) == {b'%d:%d' % (w, i) for w in range(4) for i in range(200)}
    os.unlink('log')


def random_bytes():
    r = random.Random(7)
    size = 700000
    model = bytearray(size)
    fd = os.open('rnd', os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, size)
    for i in range(400):
        at = r.randrange(size)
        data = r.randbytes(r.choice([1, 100, 4096, 30000]))[: size - at]
        os.pwrite(fd, data, at)
        model[at : at + len(data)] = data
        if i % 50 == 0:
            os.fsync(fd)
        if i % 100 == 0:
            os.sync()
            drop_caches(1)
    os.fsync(fd)
    os.close(fd)
    drop_caches(1)
    assert get('rnd') == bytes(model)
    os.unlink('rnd')


def mapped():
    put('m', b'\0' * 200000)
    with open('m', 'r+b') as f:
        with mmap.mmap(f.fileno(), 0) as m:
            m[150000:150005] = b'hello'
            m.flush()
        assert os.pread(f.fileno(), 5, 150000) == b'hello'
    os.unlink('m')


def mapped_by_two():
    """A shared writable mapping is memory of both, and what they wrote is in the file when they are gone."""
    fd = os.open('m', os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 300000)
    ours = mmap.mmap(fd, 300000)

    def theirs():
        with mmap.mmap(os.open('m', os.O_RDWR), 300000) as m:
            m[:4] = b'them'
            m[299996:] = b'them'

    assert in_child(theirs) == 0
    assert ours[:4] == b'them'
    ours[4:6] = b'us'
    ours.close()
    os.fsync(fd)
    os.close(fd)
    drop_caches(1)
    assert get('m') == b'themus' + b'\0' * 299990 + b'them'
    os.unlink('m')


def synchronous():
    fd = os.open('s', os.O_CREAT | os.O_RDWR | os.O_SYNC)
    os.write(fd, b'x' * 300000)
    os.close(fd)
    fd = os.open('s', os.O_RDWR | os.O_DSYNC)
    os.pwrite(fd, b'yy', 299999)
    os.close(fd)
    drop_caches(1)
    assert get('s') == b'x' * 299999 + b'yy'
    os.unlink('s')


def direct():
    """O_DIRECT and the page cache see the same bytes."""
    fd = os.open('d', os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 8192)
    page[:] = b'D' * 8192
    assert os.write(fd, page) == 8192
    assert get('d') == b'D' * 8192
    with open('d', 'r+b') as f:
        f.write(b'cached')
    read = mmap.mmap(-1, 8192)
    assert os.preadv(fd, [read], 0) == 8192 and read[:8] == b'cachedDD'
    os.close(fd)
    os.unlink('d')


def open_flags():
    put('f', b'abc')
    fails(errno.EEXIST, os.open, 'f', os.O_CREAT | os.O_EXCL)
    fails(errno.ENOTDIR, os.open, 'f', os.O_DIRECTORY)
    fails(errno.EISDIR, os.open, '.', os.O_WRONLY)
    os.symlink('f', 'l')
    fails(errno.ELOOP, os.open, 'l', os.O_NOFOLLOW)
    os.close(os.open('f', os.O_WRONLY | os.O_TRUNC))
    assert os.stat('f').st_size == 0 and stat.S_ISREG(os.stat('f').st_mode)
    os.unlink('l'), os.unlink('f')


main(sparse_and_truncate, sixteen_tebibytes, appended, appended_together, random_bytes, mapped, mapped_by_two, synchronous,
     direct, open_flags)
