"""What the POSIX checks share. A file of checks, one family of operations, ends with `main(...)`: each check runs in an empty directory
below the current one, and leaves it empty. Arguments: NAME leaves a check out, NAME=fails is one that is known to fail here: it is run, and
that it passes is an error."""
import ctypes, errno, os, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


def checked(result, *what):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), *what)
    return result


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


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def drop_caches(what=3):
    subprocess.run(['sh', '-c', 'echo %d > /proc/sys/vm/drop_caches' % what], check=False)


def in_child(action):
    """Runs it in a process of its own. Returns its exit code: 0, 7 for EPERM and EACCES, 1 for all else that is raised."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except PermissionError:
            os._exit(7)
        except BaseException as e:
            sys.stderr.write('%r\n' % e)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_user(uid, action, gid=None, groups=()):
    def become():
        os.setgroups(groups), os.setgid(uid if gid is None else gid), os.setuid(uid)
        action()

    return in_child(become)


def main(*checks):
    family = os.path.basename(sys.argv[0]).removesuffix('.py')
    listed = sys.argv[1:]
    unknown = {name.removesuffix('=fails') for name in listed} - {check.__name__ for check in checks}
    assert not unknown, 'no checks: %s' % unknown
    surprises = []
    os.mkdir(family)
    os.chmod(family, 0o755)
    os.chdir(family)
    for check in checks:
        if check.__name__ in listed:
            continue
        os.mkdir(check.__name__)
        os.chmod(check.__name__, 0o777)
        os.chdir(check.__name__)
        if check.__name__ + '=fails' in listed:
            # What it leaves behind stays there.
            if in_child(check) == 0:
                surprises.append(check.__name__)
            os.chdir('..')
            continue
        check()
        # libfuse keeps an open file that was deleted under a name of its own, and hears of its close when that has returned.
        for _ in range(500):
            left = os.listdir('.')
            if not any(name.startswith('.fuse_hidden') for name in left):
                break
            time.sleep(0.02)
        assert left == [], (check.__name__, left)
        os.chdir('..')
        os.rmdir(check.__name__)
        print('ok', check.__name__, flush=True)
    assert not surprises, 'listed as failing, and yet they pass: %s' % surprises
