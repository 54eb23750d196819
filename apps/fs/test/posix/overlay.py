"""An overlayfs whose upper directory is on the mount: it wants whiteouts, O_TMPFILE, trusted attributes and d_type of us."""
import os, stat, tempfile
from common import fails, get, main, put, run
import errno


def upper_directory():
    with tempfile.TemporaryDirectory(prefix='qsfs-overlay-') as elsewhere:
        lower, merged = elsewhere + '/lower', elsewhere + '/merged'
        os.makedirs(lower + '/d/sub'), os.mkdir(merged), os.mkdir('upper'), os.mkdir('work')
        put(lower + '/kept', b'below'), put(lower + '/gone', b'x'), put(lower + '/d/f', b'f'), put(lower + '/changed', b'old')
        here = os.getcwd()
        # redirect_dir: renamed directories leave their old name in an attribute.
        options = 'lowerdir=%s,upperdir=%s/upper,workdir=%s/work,redirect_dir=on,metacopy=off' % (lower, here, here)
        run('mount', '-t', 'overlay', 'overlay', '-o', options, merged)
        try:
            change(merged)
            look(merged)
        finally:
            run('umount', merged)
        s = os.lstat('upper/gone')
        assert stat.S_ISCHR(s.st_mode) and s.st_rdev == 0
        run('mount', '-t', 'overlay', 'overlay', '-o', options, merged)
        try:
            look(merged)
        finally:
            run('umount', merged)
        assert get(lower + '/changed') == b'old' and os.path.exists(lower + '/gone')
    run('rm', '-rf', 'upper', 'work')


def change(merged):
    os.unlink(merged + '/gone')
    put(merged + '/new', b'new')
    with open(merged + '/changed', 'ab') as f:
        f.write(b' and new')
    os.rename(merged + '/d', merged + '/e')
    os.rename(merged + '/kept', merged + '/moved')
    os.close(os.open(merged, os.O_TMPFILE | os.O_RDWR))
    os.mkdir(merged + '/d')


def look(merged):
    assert sorted(os.listdir(merged)) == ['changed', 'd', 'e', 'moved', 'new'], os.listdir(merged)
    assert get(merged + '/changed') == b'old and new' and get(merged + '/moved') == b'below'
    assert os.listdir(merged + '/d') == [] and get(merged + '/e/f') == b'f' and os.path.isdir(merged + '/e/sub')
    fails(errno.ENOENT, os.stat, merged + '/gone')


main(upper_directory)
