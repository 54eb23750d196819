# Random operations on one file, beside a bytearray: what Apple's and Ted Ts'o's fsx does, with the calls Linux has today.
# python3 fsx.py SEED SECONDS, in the directory to try. Ends with exit code 1 and the last operations at the first difference.
import ctypes, mmap, os, random, sys, time

seed, seconds = int(sys.argv[1]), float(sys.argv[2])
rng = random.Random(seed)
libc = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
SIZE_MAX = 3 * 1024 * 1024
name = f"fsx-{seed}"
model = bytearray()
done = []


def fallocate(fd, mode, offset, length):
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if call(fd, mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fail(text):
    print(f"fsx: seed {seed}: {text}; the last operations:")
    for line in done[-40:]:
        print(" ", line)
    sys.exit(1)


def same(actual, offset, what):
    expected = model[offset : offset + len(actual)]
    if actual == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(actual, expected)) if a != b), min(len(actual), len(expected)))
    fail(f"{what}: byte {offset + at} is {actual[at:at + 8].hex()}, not {bytes(expected[at:at + 8]).hex()}")


def grow(size):
    if size > len(model):
        model.extend(bytes(size - len(model)))


def place(limit=SIZE_MAX):
    offset = rng.randrange(limit)
    if rng.random() < 0.4:
        offset -= offset % rng.choice([512, 4096, 131072])
    length = rng.choice([rng.randrange(1, 64), rng.randrange(1, 8192), rng.randrange(1, 400000)])
    return offset, min(length, SIZE_MAX - offset)


def write(fd):
    offset, length = place()
    data = rng.randbytes(length)
    os.pwrite(fd, data, offset)
    grow(offset + length)
    model[offset : offset + length] = data
    return f"write {offset} {length}"


def read(fd):
    offset, length = place()
    actual = os.pread(fd, length, offset)
    if len(actual) != max(0, min(length, len(model) - offset)):
        fail(f"read {offset} {length} got {len(actual)} bytes of a file of {len(model)}")
    same(actual, offset, "read")
    return f"read {offset} {length}"


def truncate(fd):
    size = rng.choice([0, rng.randrange(SIZE_MAX), max(0, len(model) - rng.randrange(1, 5000))])
    os.ftruncate(fd, size)
    del model[size:]
    grow(size)
    return f"truncate {size}"


def allocate(fd):
    offset, length = place()
    mode = rng.choice([0, KEEP_SIZE])
    fallocate(fd, mode, offset, length)
    if mode == 0:
        grow(offset + length)
    return f"fallocate {mode} {offset} {length}"


def punch(fd):
    offset, length = place()
    zero_only = rng.random() < 0.5
    mode = rng.choice([ZERO_RANGE, ZERO_RANGE | KEEP_SIZE]) if zero_only else PUNCH_HOLE | KEEP_SIZE
    fallocate(fd, mode, offset, length)
    if mode == ZERO_RANGE:
        grow(offset + length)
    end = min(len(model), offset + length)
    if offset < end:
        model[offset:end] = bytes(end - offset)
    return f"punch {mode} {offset} {length}"


def copy(fd):
    source, length = place()
    target = rng.randrange(SIZE_MAX - length + 1)
    if abs(source - target) < length or source >= len(model):
        return "copy nothing"
    copied = 0
    while copied < length:
        part = os.copy_file_range(fd, fd, length - copied, source + copied, target + copied)
        if part == 0:
            break
        grow(target + copied + part)
        model[target + copied : target + copied + part] = model[source + copied : source + copied + part]
        copied += part
    return f"copy {source} {target} {length}: {copied}"


def mapped(fd):
    if not model:
        return "map nothing"
    with mmap.mmap(fd, len(model)) as view:
        offset = rng.randrange(len(model))
        length = min(rng.randrange(1, 100000), len(model) - offset)
        same(view[offset : offset + length], offset, "mapped read")
        data = rng.randbytes(length)
        view[offset : offset + length] = data
        model[offset : offset + length] = data
        if rng.random() < 0.3:
            view.flush()
    return f"mapped write {offset} {length}"


def sync(fd):
    rng.choice([os.fsync, os.fdatasync])(fd)
    if rng.random() < 0.7:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return "fsync"


def holes(fd):
    """What lseek calls a hole reads as zeros; it may call holes data."""
    at = 0
    while at < len(model):
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            start = len(model)
        if any(model[at:start]):
            fail(f"SEEK_DATA from {at} skips to {start}, over bytes")
        if start >= len(model):
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        if at <= start:
            fail(f"SEEK_HOLE from {start} says {at}")
    return "seek"


def whole(fd):
    if os.fstat(fd).st_size != len(model):
        fail(f"the file has {os.fstat(fd).st_size} bytes, not {len(model)}")
    same(os.pread(fd, SIZE_MAX + 1, 0), 0, "the whole file")
    return "read all"


operations = [write] * 6 + [read] * 3 + [mapped] * 2 + [truncate, allocate, punch, copy, copy, sync, holes, whole]
end = time.monotonic() + seconds
fd = os.open(name, os.O_RDWR | os.O_CREAT)
while time.monotonic() < end:
    operation = rng.choice(operations)
    done.append(operation.__name__)
    done[-1] = operation(fd)
    if rng.random() < 0.02:
        os.close(fd)
        fd = os.open(name, os.O_RDWR)
        done.append("reopen")
whole(fd)
os.close(fd)
print(f"{len(done)} operations")
