"""rename(2), and renameat2(2) with each of its flags."""
import errno, os, stat
from common import AT_FDCWD, checked, fails, get, libc, main, put

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


def renameat2(a, b, flags):
    checked(libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags), a)


def is_whiteout(path):
    s = os.lstat(path)
    return stat.S_ISCHR(s.st_mode) and s.st_rdev == 0


def plain():
    put('a', b'a'), put('b', b'b')
    os.rename('a', 'b')
    assert get('b') == b'a' and not os.path.exists('a')
    os.link('b', 'same')
    os.rename('b', 'same')
    assert os.path.exists('b') and os.stat('b').st_nlink == 2
    os.mkdir('d'), os.mkdir('e')
    put('e/x', b'')
    fails(errno.ENOTEMPTY, os.rename, 'd', 'e')
    fails(errno.EISDIR, os.rename, 'b', 'd')
    fails(errno.ENOTDIR, os.rename, 'd', 'b')
    fails(errno.EINVAL, os.rename, 'e', 'e/inside')
    fails(errno.ENOENT, os.rename, 'absent', 'x')
    os.unlink('e/x')
    os.rename('d', 'e')
    os.rmdir('e'), os.unlink('b'), os.unlink('same')


def across_directories():
    os.makedirs('d/sub'), os.mkdir('e')
    os.rename('d/sub', 'e/moved')
    assert (os.stat('d').st_nlink, os.stat('e').st_nlink) == (2, 3)
    assert os.path.samefile('e/moved/..', 'e')
    os.mkdir('d/other'), put('d/other/f', b'f')
    renameat2('d/other', 'e/moved', EXCHANGE)
    assert get('e/moved/f') == b'f' and os.listdir('d/other') == []
    os.unlink('e/moved/f'), os.rmdir('e/moved'), os.rmdir('d/other'), os.rmdir('e'), os.rmdir('d')


def no_replace():
    put('a', b'a'), put('b', b'b')
    fails(errno.EEXIST, renameat2, 'a', 'b', NOREPLACE)
    renameat2('a', 'c', NOREPLACE)
    assert (get('b'), get('c')) == (b'b', b'a')
    os.unlink('b'), os.unlink('c')


def exchange():
    put('a', b'a'), os.mkdir('d'), put('d/b', b'b')
    renameat2('a', 'd/b', EXCHANGE)
    assert (get('a'), get('d/b')) == (b'b', b'a')
    links = os.stat('.').st_nlink
    renameat2('a', 'd', EXCHANGE)
    assert get('d') == b'b' and get('a/b') == b'a' and os.stat('.').st_nlink == links
    fails(errno.ENOENT, renameat2, 'a', 'absent', EXCHANGE)
    os.unlink('a/b'), os.rmdir('a'), os.unlink('d')


def whiteout():
    put('a', b'a')
    renameat2('a', 'b', WHITEOUT)
    assert get('b') == b'a' and is_whiteout('a')
    put('c', b'c'), os.mkdir('d'), put('d/old', b'old')
    renameat2('c', 'd/old', WHITEOUT)
    assert get('d/old') == b'c' and is_whiteout('c')
    fails(errno.EEXIST, renameat2, 'b', 'd/old', WHITEOUT | NOREPLACE)
    fails(errno.EINVAL, renameat2, 'b', 'd/old', WHITEOUT | EXCHANGE)
    assert sorted(os.listdir('.')) == ['a', 'b', 'c', 'd']
    os.unlink('a'), os.unlink('b'), os.unlink('c'), os.unlink('d/old'), os.rmdir('d')


main(plain, across_directories, no_replace, exchange, whiteout)
