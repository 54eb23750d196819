#!/usr/bin/env python3
"""POSIX checks in the current directory, each a function; `posix.py make` runs them all and leaves a tree behind that
`posix.py verify` finds again after a remount."""
import ctypes, errno, mmap, os, random, stat, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, AT_FDCWD = 1, 2, -100


def renameat2(a, b, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags) != 0:
        raise OSError(ctypes.get_errno(), a)


def fails(code, call, *args, **kw):
    try:
        call(*args, **kw)
    except OSError as e:
        assert e.errno == code, (errno.errorcode[e.errno], errno.errorcode[code], args)
        return
    raise AssertionError('no %s from %s%r' % (errno.errorcode[code], call.__name__, args))


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def get(path):
    with open(path, 'rb') as f:
        return f.read()


def names():
    for name in [b'x' * 255, 'ünïcode'.encode(), b'\xff\xfe raw', b'with\nnewline', b' ']:
        put(name, b'1')
        assert get(name) == b'1' and name in os.listdir(b'.')
        os.unlink(name)
    fails(errno.ENAMETOOLONG, put, 'x' * 256, b'')
    fails(errno.ENOENT, os.stat, 'absent')
    fails(errno.EEXIST, os.mkdir, '.')


def directories():
    os.mkdir('d', 0o750)
    assert os.stat('d').st_nlink == 2 and stat.S_IMODE(os.stat('d').st_mode) == 0o750
    os.mkdir('d/sub')
    assert os.stat('d').st_nlink == 3
    fails(errno.ENOTEMPTY, os.rmdir, 'd')
    fails(errno.EISDIR, os.unlink, 'd/sub')
    put('d/f', b'')
    fails(errno.ENOTDIR, os.rmdir, 'd/f')
    os.mkdir('e')
    os.rename('d/sub', 'e/moved')
    assert (os.stat('d').st_nlink, os.stat('e').st_nlink) == (2, 3)
    assert os.stat('e/moved/..').st_ino == os.stat('e').st_ino
    fails(errno.EINVAL, os.rename, 'e', 'e/moved/inside')
    for i in range(500):
        put('d/%d' % i, b'')
    assert len(os.listdir('d')) == 501
    for n in os.listdir('d'):
        os.unlink('d/' + n)
    os.rmdir('e/moved'), os.rmdir('e'), os.rmdir('d')
    os.mkdir('gone')
    fd = os.open('gone', os.O_RDONLY)
    os.rmdir('gone')
    fails(errno.ENOENT, os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


def links():
    put('a', b'one')
    os.link('a', 'b')
    assert os.stat('a').st_nlink == 2 and os.stat('a').st_ino == os.stat('b').st_ino
    os.unlink('a')
    assert get('b') == b'one' and os.stat('b').st_nlink == 1
    os.symlink('b', 's')
    assert os.readlink('s') == 'b' and os.lstat('s').st_size == 1 and get('s') == b'one'
    os.symlink('t' * 4000, 'long')
    assert os.readlink('long') == 't' * 4000
    fails(errno.EPERM, os.link, '.', 'dirlink')
    for n in ['b', 's', 'long']:
        os.unlink(n)


def renames():
    put('a', b'a'), put('b', b'b')
    fails(errno.EEXIST, renameat2, 'a', 'b', RENAME_NOREPLACE)
    renameat2('a', 'b', RENAME_EXCHANGE)
    assert (get('a'), get('b')) == (b'b', b'a')
    os.rename('a', 'b')
    assert get('b') == b'b' and not os.path.exists('a')
    os.mkdir('d'), os.mkdir('e')
    put('e/x', b'')
    fails(errno.ENOTEMPTY, os.rename, 'd', 'e')
    fails(errno.EISDIR, os.rename, 'b', 'd')
    fails(errno.ENOTDIR, os.rename, 'd', 'b')
    os.unlink('e/x')
    os.rename('d', 'e')
    os.rmdir('e'), os.unlink('b')


def unlinked_open():
    fd = os.open('t', os.O_CREAT | os.O_RDWR)
    os.write(fd, b'x' * 300000)
    os.unlink('t')
    os.fsync(fd)
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b'more', 400000)
    os.fsync(fd)
    assert os.pread(fd, 4, 400000) == b'more' and os.pread(fd, 3, 299999) == b'x\0\0'
    os.close(fd)


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


def appended():
    data = b''
    for i in range(300):
        with open('log', 'ab') as f:
            f.write(b'%d line\n' % i)
        data += b'%d line\n' % i
    assert get('log') == data
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
            subprocess.run(['sh', '-c', 'sync . ; echo 1 > /proc/sys/vm/drop_caches'], check=False)
    os.fsync(fd)
    os.close(fd)
    subprocess.run(['sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches'], check=False)
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


def attributes():
    put('f', b'')
    os.chmod('f', 0o4755)
    assert stat.S_IMODE(os.stat('f').st_mode) == 0o4755
    os.chown('f', 12345678, 87654321)
    s = os.stat('f')
    assert (s.st_uid, s.st_gid) == (12345678, 87654321) and stat.S_IMODE(s.st_mode) == 0o755
    os.utime('f', ns=(1_234_567_890_123_456_789, -5_000_000_001))
    s = os.stat('f')
    assert (s.st_atime_ns, s.st_mtime_ns) == (1_234_567_890_123_456_789, -5_000_000_001)
    before = os.stat('f').st_mtime_ns
    time.sleep(0.02)
    with open('f', 'ab') as f:
        f.write(b'x')
    assert os.stat('f').st_mtime_ns > before
    os.mkdir('sg')
    os.chown('sg', 0, 4242), os.chmod('sg', 0o2775)
    put('sg/f', b''), os.mkdir('sg/d')
    assert os.stat('sg/f').st_gid == 4242 and os.stat('sg/d').st_mode & stat.S_ISGID
    os.mknod('fifo', 0o600 | stat.S_IFIFO), os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    assert stat.S_ISFIFO(os.stat('fifo').st_mode) and os.stat('null').st_rdev == os.makedev(1, 3)
    for n in ['f', 'fifo', 'null', 'sg/f']:
        os.unlink(n)
    os.rmdir('sg/d'), os.rmdir('sg')


def xattrs():
    put('f', b'')
    os.setxattr('f', 'user.a', b'1')
    fails(errno.EEXIST, os.setxattr, 'f', 'user.a', b'2', os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, 'f', 'user.b', b'2', os.XATTR_REPLACE)
    fails(errno.ENODATA, os.getxattr, 'f', 'user.b')
    os.setxattr('f', 'user.big', b'v' * 20000)
    os.setxattr('f', 'trusted.t', b'')
    assert os.getxattr('f', 'user.a') == b'1' and os.getxattr('f', 'user.big') == b'v' * 20000
    assert sorted(os.listxattr('f')) == ['trusted.t', 'user.a', 'user.big']
    os.removexattr('f', 'user.big')
    assert sorted(os.listxattr('f')) == ['trusted.t', 'user.a']
    fails(errno.EOPNOTSUPP, os.setxattr, 'f', 'system.other', b'')
    os.unlink('f')


def access_lists():
    put('f', b'')
    os.chmod('f', 0o640)
    run = lambda *c: subprocess.run(c, check=True, capture_output=True, text=True).stdout
    run('setfacl', '-m', 'u:1234:rw', 'f')
    assert 'user:1234:rw-' in run('getfacl', '-n', 'f') and stat.S_IMODE(os.stat('f').st_mode) == 0o660
    os.chmod('f', 0o600)
    assert '#effective:---' in run('getfacl', '-n', 'f')
    os.mkdir('d')
    run('setfacl', '-d', '-m', 'u:1234:rwx', 'd')
    put('d/child', b''), os.mkdir('d/sub')
    assert 'user:1234:rwx' in run('getfacl', '-n', 'd/child') and 'default:user:1234:rwx' in run('getfacl', '-n', 'd/sub')
    run('setfacl', '-b', 'f')
    os.unlink('d/child'), os.rmdir('d/sub'), os.rmdir('d'), os.unlink('f')


def permissions():
    put('secret', b'x')
    os.chmod('secret', 0o600)
    os.mkdir('sticky'), os.chmod('sticky', 0o1777)
    put('sticky/mine', b'')
    for action in [lambda: get('secret'), lambda: os.unlink('sticky/mine'), lambda: os.chmod('secret', 0o777)]:
        child = os.fork()
        if child == 0:
            os.setgroups([]), os.setgid(4321), os.setuid(4321)
            try:
                action()
            except PermissionError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    os.unlink('sticky/mine'), os.rmdir('sticky'), os.unlink('secret')


def statfs():
    s = os.statvfs('.')
    assert s.f_blocks > s.f_bavail > 0 and s.f_namemax == 255


CHECKS = [names, directories, links, renames, unlinked_open, sparse_and_truncate, appended, random_bytes, mapped,
          attributes, xattrs, access_lists, permissions, statfs]


def content(i):
    return random.Random(i).randbytes([0, 10, 2048, 131072, 300000][i % 5])


def make():
    for check in CHECKS:
        check()
        assert os.listdir('.') == [], (check.__name__, os.listdir('.'))
        print('ok', check.__name__, flush=True)
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
    """Writes files for ever, fsyncs each, and says which are done."""
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
