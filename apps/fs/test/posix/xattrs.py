"""Extended attributes of each kind, and access control lists."""
import errno, os, stat
from common import as_user, drop_caches, fails, get, main, put, run


def attributes():
    put('f', b'')
    os.setxattr('f', 'user.a', b'1')
    fails(errno.EEXIST, os.setxattr, 'f', 'user.a', b'2', os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, 'f', 'user.b', b'2', os.XATTR_REPLACE)
    fails(errno.ENODATA, os.getxattr, 'f', 'user.b')
    os.setxattr('f', 'user.big', b'v' * 20000)
    os.setxattr('f', 'trusted.t', b'')
    os.setxattr('f', 'security.s', bytes(range(256)))
    os.setxattr('f', 'user.' + 'n' * 250, b'long')
    fails(errno.ENOSPC, os.setxattr, 'f', 'user.more', b'v' * 40000)
    drop_caches()
    assert os.getxattr('f', 'user.a') == b'1' and os.getxattr('f', 'user.big') == b'v' * 20000
    assert os.getxattr('f', 'security.s') == bytes(range(256)) and os.getxattr('f', 'trusted.t') == b''
    assert sorted(os.listxattr('f')) == ['security.s', 'trusted.t', 'user.a', 'user.big', 'user.' + 'n' * 250]
    os.removexattr('f', 'user.big')
    fails(errno.ENODATA, os.removexattr, 'f', 'user.big')
    fails(errno.EOPNOTSUPP, os.setxattr, 'f', 'system.other', b'')
    os.mkdir('d')
    os.setxattr('d', 'user.d', b'd')
    assert os.listxattr('d') == ['user.d']
    os.symlink('f', 'l')
    fails(errno.EPERM, os.setxattr, 'l', 'user.l', b'', follow_symlinks=False)
    os.setxattr('l', 'trusted.l', b'', follow_symlinks=False)
    assert os.readlink('l') == 'f' and os.listxattr('l', follow_symlinks=False) == ['trusted.l']
    os.unlink('l'), os.rmdir('d'), os.unlink('f')


def trusted_is_for_root():
    put('f', b'')
    os.chmod('f', 0o666), os.setxattr('f', 'trusted.t', b'')
    assert as_user(4321, lambda: os.setxattr('f', 'trusted.u', b'')) == 7
    assert as_user(4321, lambda: os.setxattr('f', 'user.u', b'')) == 0
    listed = lambda: os.listxattr('f') == ['user.u'] or os._exit(3)
    assert as_user(4321, listed) == 0
    os.unlink('f')


def capabilities_go_with_a_write():
    put('f', b'')
    os.setxattr('f', 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000'))
    put('f', b'x')
    assert os.listxattr('f') == []
    os.unlink('f')


def access_lists():
    put('f', b'')
    os.chmod('f', 0o640)
    run('setfacl', '-m', 'u:1234:rw', 'f')
    assert 'user:1234:rw-' in run('getfacl', '-n', 'f') and stat.S_IMODE(os.stat('f').st_mode) == 0o660
    assert as_user(1234, lambda: put('f', b'by 1234')) == 0 and get('f') == b'by 1234'
    assert as_user(1235, lambda: get('f')) == 7
    os.chmod('f', 0o600)
    assert '#effective:---' in run('getfacl', '-n', 'f') and as_user(1234, lambda: get('f')) == 7
    run('setfacl', '-b', 'f')
    assert 'user:1234' not in run('getfacl', '-n', 'f')
    os.unlink('f')


def default_lists():
    os.mkdir('d')
    run('setfacl', '-d', '-m', 'u:1234:rwx', 'd')
    os.umask(0o077)
    put('d/child', b''), os.mkdir('d/sub')
    fd = os.open('d', os.O_TMPFILE | os.O_RDWR, 0o666)
    assert 'user:1234:rwx' in run('getfacl', '-n', '/proc/%d/fd/%d' % (os.getpid(), fd))
    os.close(fd)
    os.umask(0o022)
    assert 'user:1234:rwx' in run('getfacl', '-n', 'd/child') and 'default:user:1234:rwx' in run('getfacl', '-n', 'd/sub')
    os.unlink('d/child'), os.rmdir('d/sub'), os.rmdir('d')


main(attributes, trusted_is_for_root, capabilities_go_with_a_write, access_lists, default_lists)
