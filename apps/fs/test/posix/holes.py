"""fallocate(2) in each of its modes, SEEK_DATA and SEEK_HOLE."""
import ctypes, errno, os, random
from common import checked, drop_caches, fails, get, libc, main, put

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32
KiB, MiB = 1024, 1024 * 1024


def fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def data_of(fd):
    """[(start, end)] of what is data."""
    ranges, at = [], 0
    while True:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO, e
            return ranges
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append((start, at))


def allocated():
    fd = os.open('f', os.O_CREAT | os.O_RDWR)
    fallocate(fd, 0, 0, MiB)
    assert os.fstat(fd).st_size == MiB and os.pread(fd, MiB, 0) == bytes(MiB)
    fallocate(fd, KEEP_SIZE, 0, 5 * MiB)
    assert os.fstat(fd).st_size == MiB
    os.pwrite(fd, b'kept', 4096)
    os.posix_fallocate(fd, 0, 2 * MiB)
    assert os.fstat(fd).st_size == 2 * MiB and os.pread(fd, 4, 4096) == b'kept'
    fails(errno.ENOSPC, fallocate, fd, 0, 0, 1 << 50)
    assert os.fstat(fd).st_size == 2 * MiB
    for mode in (COLLAPSE_RANGE, INSERT_RANGE):
        fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 128 * KiB)
    fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    os.close(fd)
    os.unlink('f')


def punched():
    for stored in (False, True):
        fd = os.open('f', os.O_CREAT | os.O_RDWR | os.O_TRUNC)
        os.pwrite(fd, b'A' * MiB, 0)
        if stored:
            os.fsync(fd)
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100_000, 500_001)
        wanted = b'A' * 100_000 + bytes(500_001) + b'A' * (MiB - 600_001)
        assert get('f') == wanted
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, MiB - 10, 1 << 40)
        wanted = wanted[:-10] + bytes(10)
        os.fsync(fd)
        drop_caches(1)
        assert get('f') == wanted and os.fstat(fd).st_size == MiB
        assert os.fstat(fd).st_blocks * 512 < 600 * KiB
        os.close(fd)
    fails(errno.EOPNOTSUPP, fallocate, os.open('f', os.O_RDWR), PUNCH_HOLE, 0, 1)
    os.unlink('f')


def zeroed():
    put('f', b'A' * 300_000)
    fd = os.open('f', os.O_RDWR)
    fallocate(fd, ZERO_RANGE, 10, 200_000)
    fallocate(fd, ZERO_RANGE | KEEP_SIZE, 299_999, 100)
    wanted = b'A' * 10 + bytes(200_000) + b'A' * 99_989 + b'\0'
    assert get('f') == wanted
    fallocate(fd, ZERO_RANGE, 299_990, 20)
    os.fsync(fd)
    drop_caches(1)
    assert get('f') == wanted[:299_990] + bytes(20)
    os.close(fd)
    os.unlink('f')


def punched_at_random():
    r = random.Random(3)
    size = 40 * MiB
    model = bytearray(size)
    fd = os.open('f', os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, size)
    for i in range(150):
        at, length = r.randrange(size), r.choice([1, 5000, 200_000, 3 * MiB])
        end = min(size, at + length)
        if r.random() < 0.6:
            data = r.randbytes(1) * (end - at)
            os.pwrite(fd, data, at)
            model[at:end] = data
        else:
            fallocate(fd, r.choice([PUNCH_HOLE, ZERO_RANGE]) | KEEP_SIZE, at, end - at)
            model[at:end] = bytes(end - at)
        if i % 40 == 0:
            os.fsync(fd)
    os.fsync(fd)
    drop_caches(1)
    assert get('f') == bytes(model)
    at = 0
    for start, end in data_of(fd):
        assert not any(model[at:start]), (at, start)
        at = end
    assert not any(model[at:])
    os.close(fd)
    os.unlink('f')


def seeked():
    fd = os.open('f', os.O_CREAT | os.O_RDWR)
    fails(errno.ENXIO, os.lseek, fd, 0, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 0, os.SEEK_HOLE)
    os.pwrite(fd, b'A' * 256 * KiB, 0)
    os.pwrite(fd, b'B' * 128 * KiB, 1 << 40)
    # Nothing was written back yet.
    wanted = [(0, 256 * KiB), (1 << 40, (1 << 40) + 128 * KiB)]
    assert data_of(fd) == wanted, data_of(fd)
    os.fsync(fd)
    assert data_of(fd) == wanted, data_of(fd)
    os.pwrite(fd, b'C' * 4096, 20 * MiB)
    assert os.lseek(fd, 256 * KiB, os.SEEK_DATA) == 20 * MiB
    assert os.lseek(fd, 20 * MiB + 5, os.SEEK_DATA) == 20 * MiB + 5
    assert os.lseek(fd, 20 * MiB + 5, os.SEEK_HOLE) == 20 * MiB + 4096
    assert os.lseek(fd, 30 * MiB, os.SEEK_HOLE) == 30 * MiB
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 128 * KiB)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 128 * KiB
    fails(errno.ENXIO, os.lseek, fd, 1 << 41, os.SEEK_DATA)
    os.ftruncate(fd, 1 << 40)
    assert data_of(fd) == [(128 * KiB, 256 * KiB), (20 * MiB, 20 * MiB + 4096)]
    os.close(fd)
    os.unlink('f')


main(allocated, punched, zeroed, punched_at_random, seeked)
