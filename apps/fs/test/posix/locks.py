"""Locks of processes, of open files, and flock: the kernel's own, as this is the only mount."""
import errno, fcntl, os, struct
from common import fails, in_child, main, put

F_OFD_SETLK = 37


def open_file(offset, length, kind=fcntl.F_WRLCK):
    return struct.pack('hhqqi4x', kind, os.SEEK_SET, offset, length, 0)


def posix_locks():
    put('f', b'x' * 100)
    fd = os.open('f', os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 20)

    def other():
        mine = os.open('f', os.O_RDWR)
        fails(errno.EAGAIN, fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 25)
        fails(errno.EAGAIN, fcntl.lockf, mine, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 20)
        fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 30)

    assert in_child(other) == 0
    fcntl.lockf(fd, fcntl.LOCK_UN, 10, 20)
    taken = lambda: fcntl.lockf(os.open('f', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert in_child(taken) == 0
    os.close(fd)
    os.unlink('f')


def locks_wait():
    put('f', b'')
    fd = os.open('f', os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        mine = os.open('f', os.O_RDWR)
        os.write(go, b'r')
        fcntl.lockf(mine, fcntl.LOCK_EX)
        os.pwrite(mine, b'after', 0)
        os._exit(0)
    os.read(ready, 1)
    os.pwrite(fd, b'before', 0)
    fcntl.lockf(fd, fcntl.LOCK_UN)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.pread(fd, 9, 0) == b'aftere'
    os.close(fd)
    os.unlink('f')


def gone_with_their_holder():
    put('f', b'')
    assert in_child(lambda: fcntl.lockf(os.open('f', os.O_RDWR), fcntl.LOCK_EX)) == 0
    fd = os.open('f', os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Any close of the file in the process takes its locks away.
    os.close(os.open('f', os.O_RDWR))
    assert in_child(lambda: fcntl.lockf(os.open('f', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)) == 0
    os.close(fd)
    os.unlink('f')


def open_file_locks():
    put('f', b'')
    a, b = os.open('f', os.O_RDWR), os.open('f', os.O_RDWR)
    fcntl.fcntl(a, F_OFD_SETLK, open_file(0, 10))
    fails(errno.EAGAIN, fcntl.fcntl, b, F_OFD_SETLK, open_file(5, 10))
    os.close(a)
    fcntl.fcntl(b, F_OFD_SETLK, open_file(5, 10))
    os.close(b)
    os.unlink('f')


def flock():
    put('f', b'')
    a, b = os.open('f', os.O_RDONLY), os.open('f', os.O_RDONLY)
    fcntl.flock(a, fcntl.LOCK_SH), fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fails(errno.EAGAIN, fcntl.flock, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(b)
    fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(a)
    os.unlink('f')


main(posix_locks, locks_wait, gone_with_their_holder, open_file_locks, flock)
