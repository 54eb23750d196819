# A program that works in the current directory and believes nothing: busy.py SEED. Reads lines from stdin; ends at its end,
# prints what it did. Every answer is compared with what it must be. Bytes that were not synced may be missing, but then fsync says
# so, and no others are there instead.
import errno, os, random, select, sys

rnd = random.Random(int(sys.argv[1]))
root = f'busy-{sys.argv[1]}'
os.mkdir(root)
os.chdir(root)
files, folders, n = {}, ['.'], 0
kept = os.open('kept', os.O_RDWR | os.O_CREAT)
os.write(kept, b'still here')
os.fsync(kept)
os.unlink('kept')
print('works', flush=True)


def sync(fd, data):
    for _ in range(30):
        try:
            return os.fsync(fd)
        except OSError as error:
            # Told, once for each death, that bytes were lost: write them again.
            assert error.errno == errno.EIO, error
            os.pwrite(fd, data, 0)
    raise AssertionError('told again and again')


def check(path, data):
    with open(path, 'rb') as file:
        found = file.read()
    if found == data:
        return
    assert len(found) <= len(data), (path, len(found), len(data))
    assert all(byte in (0, data[i]) for i, byte in enumerate(found)), f'{path} has foreign bytes'
    fd = os.open(path, os.O_WRONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        assert error.errno == errno.EIO, error
        os.pwrite(fd, data, 0)
        os.close(fd)
    else:
        raise AssertionError(f'{path} lost bytes in silence: {len(found)} of {len(data)} are there')


while not select.select([sys.stdin], [], [], 0)[0]:
    n += 1
    what = rnd.randrange(100)
    new = os.path.join(rnd.choice(folders), f'{n}')
    old = rnd.choice(list(files)) if files else None
    if what < 30 or old is None:
        data = rnd.randbytes(rnd.randrange(1, 30000))
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
        assert os.write(fd, data) == len(data)
        if what < 10:
            sync(fd, data)
        os.close(fd)
        files[new] = data
    elif what < 45:
        os.unlink(old)
        del files[old]
        assert not os.path.lexists(old), old
    elif what < 60:
        os.rename(old, new)
        files[new] = files.pop(old)
        assert not os.path.lexists(old), old
    elif what < 66:
        os.mkdir(new)
        folders.append(new)
    elif what < 72:
        os.link(old, new)
        files[new] = files[old]
        assert os.stat(old).st_ino == os.stat(new).st_ino
    elif what < 78:
        os.setxattr(old, 'user.n', str(n).encode())
        os.chmod(old, 0o600 + n % 64)
        assert os.getxattr(old, 'user.n') == str(n).encode()
        assert os.stat(old).st_mode & 0o777 == 0o600 + n % 64
    elif what < 82:
        os.symlink(f'to-{n}', new)
        assert os.readlink(new) == f'to-{n}'
        os.unlink(new)
    else:
        check(old, files[old])

assert os.pread(kept, 100, 0) == b'still here'
found = set()
for folder, _, names in os.walk('.'):
    found.update(os.path.join(folder, name) for name in names)
assert found == set(files), found ^ set(files)
for path, data in files.items():
    check(path, data)
print(f'done {n}', flush=True)
