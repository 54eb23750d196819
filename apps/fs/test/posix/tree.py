"""A tree that is made (`tree.py make`) and found again after a remount (`tree.py verify`), and files that are fsynced one after the
other (`tree.py fsynced`), each of which is there after a crash (`tree.py verify_fsynced LAST`)."""
import os, random, stat, sys
from common import get, put


def content(i):
    return random.Random(i).randbytes([0, 10, 2048, 131072, 300000][i % 5])


def make():
    os.makedirs('kept/deep/er')
    for i in range(200):
        path = 'kept/%d' % i
        put(path, content(i))
        os.chmod(path, 0o600 + i % 64)
        os.setxattr(path, 'user.n', b'%d' % i)
        os.utime(path, ns=(i, 1_000_000_000_000_000_000 + i))
        os.symlink('../%d' % i, 'kept/deep/%d' % i)
    os.link('kept/3', 'kept/deep/er/hard')


def verify():
    assert sorted(os.listdir('kept')) == sorted(['deep'] + [str(i) for i in range(200)])
    for i in range(200):
        path = 'kept/%d' % i
        s = os.stat(path)
        assert get(path) == content(i), path
        assert s.st_mtime_ns == 1_000_000_000_000_000_000 + i and stat.S_IMODE(s.st_mode) == 0o600 + i % 64, path
        assert os.getxattr(path, 'user.n') == b'%d' % i and os.readlink('kept/deep/%d' % i) == '../%d' % i
    assert os.stat('kept/3').st_nlink == 2 and os.path.samefile('kept/3', 'kept/deep/er/hard')


def fsynced():
    os.makedirs('crash', exist_ok=True)
    for i in range(100000):
        fd = os.open('crash/%d' % i, os.O_CREAT | os.O_WRONLY)
        os.write(fd, content(i))
        os.fsync(fd)
        os.close(fd)
        os.write(1, b'%d\n' % i)


def verify_fsynced(last):
    for i in range(int(last) + 1):
        assert get('crash/%d' % i) == content(i), i


globals()[sys.argv[1]](*sys.argv[2:])
