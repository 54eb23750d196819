"""Modes, owners, times, what statx and statfs say."""
import ctypes, errno, os, stat, struct, time
from common import AT_FDCWD, as_user, checked, drop_caches, fails, get, libc, main, put

STATX_BTIME = 0x800


def birth_time(path):
    """Nanoseconds since 1970."""
    buffer = ctypes.create_string_buffer(256)
    checked(libc.statx(AT_FDCWD, os.fsencode(path), 0, STATX_BTIME, buffer), path)
    mask, seconds, nanos = struct.unpack_from('I76xqI', buffer)
    assert mask & STATX_BTIME
    return seconds * 10**9 + nanos


def modes_and_owners():
    put('f', b'')
    os.chmod('f', 0o4755)
    assert stat.S_IMODE(os.stat('f').st_mode) == 0o4755
    os.chown('f', 12345678, 87654321)
    s = os.stat('f')
    assert (s.st_uid, s.st_gid) == (12345678, 87654321) and stat.S_IMODE(s.st_mode) == 0o755
    os.chown('f', -1, 5)
    assert (os.stat('f').st_uid, os.stat('f').st_gid) == (12345678, 5)
    os.symlink('f', 'l')
    os.lchown('l', 7, 8)
    assert os.lstat('l').st_uid == 7 and os.stat('l').st_uid == 12345678
    os.unlink('l'), os.unlink('f')


def privileges_dropped():
    """By whoever changes what a setuid program would do; a directory keeps its bits."""
    for make in (lambda: put('f', b''), lambda: os.mkfifo('f'), lambda: os.mknod('f', stat.S_IFSOCK), lambda: os.mkdir('f')):
        make()
        os.chown('f', 4321, 4321), os.chmod('f', 0o6755)
        assert as_user(4321, lambda: os.chown('f', -1, 55), groups=[55]) == 0
        wanted = 0o6755 if os.path.isdir('f') else 0o755
        assert stat.S_IMODE(os.stat('f').st_mode) == wanted, oct(os.stat('f').st_mode)
        os.rmdir('f') if os.path.isdir('f') else os.unlink('f')
    for change in (lambda fd: os.write(fd, b'x'), lambda fd: os.ftruncate(fd, 3), lambda fd: os.posix_fallocate(fd, 0, 10)):
        put('f', b'')
        os.chmod('f', 0o6777)
        assert as_user(4321, lambda: change(os.open('f', os.O_WRONLY))) == 0
        assert stat.S_IMODE(os.stat('f').st_mode) == 0o777, oct(os.stat('f').st_mode)
        os.unlink('f')


def group_of_directory():
    os.mkdir('sg')
    os.chown('sg', 0, 4242), os.chmod('sg', 0o2775)
    put('sg/f', b''), os.mkdir('sg/d')
    assert os.stat('sg/f').st_gid == 4242 and os.stat('sg/d').st_mode & stat.S_ISGID
    os.unlink('sg/f'), os.rmdir('sg/d'), os.rmdir('sg')


def times():
    put('f', b'')
    os.utime('f', ns=(1_234_567_890_123_456_789, -5_000_000_001))
    s = os.stat('f')
    assert (s.st_atime_ns, s.st_mtime_ns) == (1_234_567_890_123_456_789, -5_000_000_001)
    os.utime('f', ns=(2**34 * 10**9, 0))
    drop_caches()
    assert os.stat('f').st_atime_ns == 2**34 * 10**9
    before = os.stat('f')
    time.sleep(0.02)
    with open('f', 'ab') as f:
        f.write(b'x')
    assert os.stat('f').st_mtime_ns > before.st_mtime_ns and os.stat('f').st_ctime_ns > before.st_ctime_ns
    before = os.stat('f')
    time.sleep(0.02)
    os.chmod('f', 0o600)
    assert os.stat('f').st_ctime_ns > before.st_ctime_ns and os.stat('f').st_mtime_ns == before.st_mtime_ns
    directory = os.stat('.').st_mtime_ns
    time.sleep(0.02)
    os.rename('f', 'g')
    assert os.stat('.').st_mtime_ns > directory
    os.unlink('g')


def access_times():
    """As relatime has them: a first read after a change moves them, further ones do not."""
    put('f', b'x' * 5000)
    os.mkdir('d')
    os.symlink('f', 'l')
    os.sync()
    for path, read in (('f', get), ('d', os.listdir), ('l', os.readlink)):
        os.utime(path, ns=(10**9, 10**9), follow_symlinks=False)
        drop_caches()
        read(path)
        first = os.lstat(path).st_atime_ns
        assert first > 10**18, (path, first)
        drop_caches()
        read(path)
        assert os.lstat(path).st_atime_ns == first, path
    os.unlink('f'), os.rmdir('d'), os.unlink('l')


def birth():
    before = time.time_ns()
    put('f', b'')
    born = birth_time('f')
    assert before - 10**8 <= born <= time.time_ns() + 10**8
    os.utime('f', ns=(1, 1)), put('f', b'more'), os.rename('f', 'g')
    drop_caches()
    assert birth_time('g') == born
    os.mkdir('d')
    assert birth_time('d') >= born
    os.unlink('g'), os.rmdir('d')


def statfs():
    s = os.statvfs('.')
    assert s.f_blocks >= s.f_bavail > 0 and s.f_namemax == 255


def permissions():
    put('secret', b'x')
    os.chmod('secret', 0o600)
    os.mkdir('sticky'), os.chmod('sticky', 0o1777)
    put('sticky/mine', b'')
    for action in [lambda: get('secret'), lambda: os.unlink('sticky/mine'), lambda: os.chmod('secret', 0o777)]:
        assert as_user(4321, action) == 7
    os.chmod('secret', 0o640), os.chown('secret', 0, 99)
    assert as_user(4321, lambda: get('secret'), groups=[99]) == 0
    fails(errno.EISDIR, open, 'sticky', 'wb')
    os.unlink('sticky/mine'), os.rmdir('sticky'), os.unlink('secret')


main(modes_and_owners, privileges_dropped, group_of_directory, times, access_times, birth, statfs, permissions)
