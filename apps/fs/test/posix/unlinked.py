"""Files without a name: unlinked while open, and made so by O_TMPFILE."""
import errno, os
from common import AT_FDCWD, checked, drop_caches, fails, get, libc, main, put

AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = 0x400, 0x1000


def name(fd, path):
    checked(libc.linkat(AT_FDCWD, b'/proc/self/fd/%d' % fd, AT_FDCWD, path, AT_SYMLINK_FOLLOW))


def unlinked_open():
    fd = os.open('t', os.O_CREAT | os.O_RDWR)
    os.write(fd, b'x' * 300000)
    os.unlink('t')
    os.fsync(fd)
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b'more', 400000)
    os.fsync(fd)
    drop_caches(1)
    assert os.pread(fd, 4, 400000) == b'more' and os.pread(fd, 3, 299999) == b'x\0\0'
    fails(errno.ENOENT, name, fd, b'back')
    os.close(fd)


def replaced_open():
    put('a', b'old'), put('b', b'new')
    fd = os.open('a', os.O_RDONLY)
    os.rename('b', 'a')
    assert os.read(fd, 10) == b'old' and get('a') == b'new' and os.fstat(fd).st_nlink == 0
    os.close(fd)
    os.unlink('a')


def removed_directory_open():
    os.mkdir('d')
    fd = os.open('d', os.O_RDONLY)
    os.rmdir('d')
    assert os.listdir(fd) == []
    os.close(fd)


def temporary():
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
    assert os.listdir('.') == [] and os.fstat(fd).st_nlink == 0
    os.write(fd, b't' * 200000)
    os.fsync(fd)
    assert os.pread(fd, 3, 199999) == b't'
    os.close(fd)


def temporary_named():
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b'named')
    checked(libc.linkat(fd, b'', AT_FDCWD, b'by-fd', AT_EMPTY_PATH))
    name(fd, b'by-path')
    assert os.fstat(fd).st_nlink == 2
    os.close(fd)
    drop_caches()
    assert get('by-fd') == get('by-path') == b'named'
    os.unlink('by-fd'), os.unlink('by-path')


def temporary_for_ever():
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    fails(errno.ENOENT, name, fd, b'never')
    os.close(fd)


main(unlinked_open, replaced_open, removed_directory_open, temporary, temporary_named, temporary_for_ever)
