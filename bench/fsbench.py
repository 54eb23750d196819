#!/usr/bin/env python3
"""Filesystem workload, the same on every directory given: prints one JSON line per directory.
usage: fsbench.py [--mib N] [--files N] LABEL=DIR [LABEL=DIR ...]
Figures: MB/s for streams, ops/s for the rest. Run several LABEL=DIR in one call: they take turns step by step,
so a ratio between two labels is measured in one run."""
import os, sys, time, json, shutil, random, subprocess, argparse
ap = argparse.ArgumentParser(); ap.add_argument('--mib', type=int, default=256); ap.add_argument('--files', type=int, default=2000)
ap.add_argument('--src', default='/usr/share/perl'); ap.add_argument('--nodrop', action='store_true'); ap.add_argument('--steps', help='only these, separated by commas'); ap.add_argument('dirs', nargs='+')
a = ap.parse_args(); targets = [d.split('=', 1) for d in a.dirs]; res = {l: {} for l, _ in targets}
_r = random.Random(1); blob = b"".join(_r.randbytes(1 << 20) for _ in range(a.mib))
def drop():
    if a.nodrop: return
    os.sync()
    with open('/proc/sys/vm/drop_caches', 'w') as f: f.write('3')
def timed(f):
    t = time.monotonic(); n = f(); return n / (time.monotonic() - t)
def seqwrite(d):
    fd = os.open(d + '/seq', os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for o in range(0, len(blob), 1 << 20): os.write(fd, memoryview(blob)[o:o + (1 << 20)])
    os.fsync(fd); os.close(fd); return len(blob) / 1e6
def seqread(d):
    fd = os.open(d + '/seq', os.O_RDONLY); n = 0
    while True:
        b = os.read(fd, 1 << 20)
        if not b: break
        if b[:64] != blob[n:n + 64]: raise SystemExit(d + ': data differs at %d' % n)
        n += len(b)
    os.close(fd); assert n == len(blob); return n / 1e6
def randread(d):
    fd = os.open(d + '/seq', os.O_RDONLY); r = random.Random(2); n = 0; t = time.monotonic()
    while time.monotonic() - t < 3:
        o = r.randrange(len(blob) // 4096) * 4096
        if os.pread(fd, 4096, o) != blob[o:o + 4096]: raise SystemExit(d + ': data differs at %d' % o)
        n += 1
    os.close(fd); return n
def randwrite(d):
    shutil.copyfile(d + '/seq', d + '/rw'); os.sync()
    fd = os.open(d + '/rw', os.O_WRONLY); r = random.Random(3); n = 0; t = time.monotonic()
    while time.monotonic() - t < 3:
        o = r.randrange(len(blob) // 4096) * 4096
        os.pwrite(fd, b'\x5a' * 4096, o); n += 1
    os.fsync(fd); os.close(fd); return n
def create(d):
    os.mkdir(d + '/small')
    for i in range(a.files):
        fd = os.open('%s/small/%d' % (d, i), os.O_CREAT | os.O_WRONLY); os.write(fd, blob[:2048]); os.close(fd)
    return a.files
def statall(d):
    for i in range(a.files): os.stat('%s/small/%d' % (d, i))
    return a.files
def readall(d):
    for i in range(a.files):
        with open('%s/small/%d' % (d, i), 'rb') as f: assert len(f.read()) == 2048
    return a.files
def ls(d):
    n = 0
    for e in os.scandir(d + '/small'): e.stat(follow_symlinks=False); n += 1
    assert n == a.files, n; return n
def unlink(d):
    for i in range(a.files): os.unlink('%s/small/%d' % (d, i))
    os.rmdir(d + '/small'); return a.files
def fsync(d):
    fd = os.open(d + '/f', os.O_CREAT | os.O_WRONLY)
    for i in range(200): os.pwrite(fd, b'y' * 4096, i * 4096); os.fsync(fd)
    os.close(fd); return 200
def untar(d):
    p = subprocess.run('tar cf - -C %s . | (mkdir -p %s/tree && tar xf - -C %s/tree)' % (a.src, d, d), shell=True, check=True)
    return sum(len(f) for _, _, f in os.walk(a.src))
def difft(d):
    if subprocess.run(['diff', '-rq', '--no-dereference', a.src, d + '/tree'], stdout=subprocess.DEVNULL).returncode: raise SystemExit(d + ': tree differs')
    return sum(len(f) for _, _, f in os.walk(a.src))
def rmtree(d):
    n = sum(len(f) for _, _, f in os.walk(d + '/tree')); t = time.monotonic(); subprocess.run(['rm', '-rf', d + '/tree'], check=True); return n
steps = [('write_MBps', seqwrite, 0), ('read_cold_MBps', seqread, 1), ('randread4k', randread, 1), ('randwrite4k', randwrite, 0), ('fsync4k', fsync, 0), ('create2k', create, 0),
         ('stat_cold', statall, 1), ('ls_l', ls, 1), ('read_small_cold', readall, 1), ('unlink', unlink, 0), ('untar_files', untar, 0), ('diff_cold_files', difft, 1), ('rmtree_files', rmtree, 0)]
if a.steps: steps = [s for s in steps if s[0] in a.steps.split(',')]
for l, d in targets: shutil.rmtree(d + '/fsbench', ignore_errors=True); os.mkdir(d + '/fsbench')
for name, f, cold in steps:
    for l, d in targets:
        if cold: drop()
        try: res[l][name] = round(timed(lambda: f(d + '/fsbench')), 1)
        except Exception as e: res[l][name] = 'FAIL %s' % e
for l, d in targets: shutil.rmtree(d + '/fsbench', ignore_errors=True)
w = max(len(n) for n, _, _ in steps)
print(' ' * w, *['%12s' % l for l, _ in targets])
for n, _, _ in steps: print(n.ljust(w), *['%12s' % res[l][n] for l, _ in targets])
print(json.dumps(res))
