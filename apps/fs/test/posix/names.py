"""Names, directories, hard and symbolic links."""
import errno, os, stat
from common import fails, get, main, put


def names():
    anything = bytes(b for b in range(1, 256) if b != 0x2F)
    for name in [b'x' * 255, anything, 'ünïcode'.encode(), b'\xff\xfe raw', b'with\nnewline', b' ']:
        put(name, b'1')
        assert get(name) == b'1' and os.listdir(b'.') == [name]
        os.unlink(name)
    fails(errno.ENAMETOOLONG, put, 'x' * 256, b'')
    fails(errno.ENAMETOOLONG, os.symlink, 'x', 'y' * 256)
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
    os.rmdir('d/sub'), os.unlink('d/f'), os.rmdir('d')
    os.mkdir('gone')
    fd = os.open('gone', os.O_RDONLY)
    os.rmdir('gone')
    fails(errno.ENOENT, os.open, 'x', os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)


def listing():
    os.mkdir('d')
    wanted = ['%04d%s' % (i, 'n' * (i % 200)) for i in range(1500)]
    for name in wanted:
        put('d/' + name, b'')
    assert sorted(os.listdir('d')) == wanted
    # What is added or goes while a directory is read shows or does not; what stays shows once.
    seen = []
    with os.scandir('d') as entries:
        for entry in entries:
            seen.append(entry.name)
            assert entry.is_file(follow_symlinks=False)
            if len(seen) == 100:
                for name in wanted[::2]:
                    os.unlink('d/' + name)
                put('d/late', b'')
    assert len(seen) == len(set(seen)) and set(wanted[1::2]) <= set(seen)
    for name in os.listdir('d'):
        os.unlink('d/' + name)
    os.rmdir('d')


def hard_links():
    put('a', b'one')
    os.link('a', 'b')
    assert os.stat('a').st_nlink == 2 and os.path.samefile('a', 'b')
    put('a', b'two')
    assert get('b') == b'two'
    os.unlink('a')
    assert get('b') == b'two' and os.stat('b').st_nlink == 1
    fails(errno.EPERM, os.link, '.', 'dirlink')
    fails(errno.EEXIST, os.link, 'b', 'b')
    os.unlink('b')


def symbolic_links():
    put('b', b'one')
    os.symlink('b', 's')
    assert os.readlink('s') == 'b' and os.lstat('s').st_size == 1 and get('s') == b'one'
    os.symlink(b'\xff' * 4000, b'long')
    assert os.readlink(b'long') == b'\xff' * 4000
    os.symlink('loop', 'loop')
    fails(errno.ELOOP, open, 'loop')
    for n in ['b', 's', 'long', 'loop']:
        os.unlink(n)


def special_files():
    os.mknod('fifo', 0o600 | stat.S_IFIFO), os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod('block', 0o600 | stat.S_IFBLK, os.makedev(4000, 1000000)), os.mknod('socket', 0o600 | stat.S_IFSOCK)
    assert stat.S_ISFIFO(os.stat('fifo').st_mode) and os.stat('null').st_rdev == os.makedev(1, 3)
    assert os.stat('block').st_rdev == os.makedev(4000, 1000000) and stat.S_ISSOCK(os.stat('socket').st_mode)
    put('null', b'swallowed')
    for n in ['fifo', 'null', 'block', 'socket']:
        os.unlink(n)


main(names, directories, listing, hard_links, symbolic_links, special_files)
