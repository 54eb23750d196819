"""copy_file_range(2), as `cp` uses it."""
import errno, os, random
from common import drop_caches, fails, get, main, put, run

KiB, MiB = 1024, 1024 * 1024


def copy_all(source, target, length, at=0, to=0):
    """copy_file_range as it is meant to be called: until it says 0."""
    a, b = os.open(source, os.O_RDONLY), os.open(target, os.O_CREAT | os.O_WRONLY)
    done = 0
    while done < length:
        count = os.copy_file_range(a, b, length - done, at + done, to + done)
        if count == 0:
            break
        done += count
    os.close(a), os.close(b)
    return done


def ranges():
    r = random.Random(5)
    data = r.randbytes(3 * MiB + 777)
    put('a', data)
    # Not written back yet, then written back.
    for _ in range(2):
        assert copy_all('a', 'b', 1 << 40) == len(data) and get('b') == data
        os.unlink('b')
        os.sync()
    put('b', b'b' * (4 * MiB))
    wanted = bytearray(get('b'))
    for _ in range(12):
        at, to, length = r.randrange(len(data)), r.randrange(3 * MiB), r.choice([5, 4096, 100_000, MiB])
        copied = copy_all('a', 'b', length, at, to)
        assert copied == min(length, len(data) - at)
        wanted[to : to + copied] = data[at : at + copied]
    assert get('b') == bytes(wanted)
    fd = os.open('b', os.O_RDWR)
    os.fsync(fd)
    drop_caches(1)
    assert get('b') == bytes(wanted) and get('a') == data
    # Within one file.
    os.copy_file_range(fd, fd, 200 * KiB, 0, 300 * KiB)
    wanted[300 * KiB : 500 * KiB] = wanted[: 200 * KiB]
    assert get('b') == bytes(wanted)
    fails(errno.EINVAL, os.copy_file_range, fd, fd, 200 * KiB, 0, 100 * KiB)
    os.close(fd)
    os.unlink('a')
    drop_caches(1)
    assert get('b') == bytes(wanted)
    os.unlink('b')


def copies_are_apart():
    put('a', b'A' * MiB)
    os.sync()
    run('cp', 'a', 'b')
    with open('a', 'r+b') as f:
        f.seek(100_000)
        f.write(b'changed')
    assert get('b') == b'A' * MiB and get('a')[99_999:100_008] == b'AchangedA'
    os.truncate('b', 10)
    os.truncate('b', 20)
    os.sync()
    drop_caches(1)
    assert get('a')[100_007:] == b'A' * (MiB - 100_007) and get('b') == b'A' * 10 + bytes(10)
    os.unlink('a'), os.unlink('b')


def no_space():
    """Forty copies of 16 MiB take hardly more of the disk than one."""
    put('a', os.urandom(16 * MiB))
    os.sync()
    free = os.statvfs('.').f_bfree
    for i in range(40):
        copy_all('a', 'c%d' % i, 16 * MiB)
    os.sync()
    assert (free - os.statvfs('.').f_bfree) * os.statvfs('.').f_bsize < 200 * MiB
    assert get('c39') == get('a')
    os.unlink('a')
    for i in range(40):
        os.unlink('c%d' % i)


def sparse():
    """`cp` finds the holes and keeps them."""
    with open('s', 'wb') as f:
        f.seek(1 << 33)
        f.write(b'end')
    run('cp', '--sparse=auto', 's', 't')
    assert os.stat('t').st_size == (1 << 33) + 3 and os.stat('t').st_blocks < 1000
    fd = os.open('t', os.O_RDONLY)
    assert os.pread(fd, 9, (1 << 33) - 5) == bytes(5) + b'end'
    os.close(fd)
    os.unlink('s'), os.unlink('t')


main(ranges, copies_are_apart, no_space, sparse)
