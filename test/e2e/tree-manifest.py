#!/usr/bin/env python3
"""Prints one line per entry below a directory: everything of it that a copy must keep. Two equal outputs mean two equal trees.
Node has no lgetxattr and no nanosecond lutimes, hence Python."""
import hashlib, os, stat, sys

root = os.fsencode(sys.argv[1])
linked = {}


def digest(path):
    total = hashlib.sha256()
    with open(path, 'rb', buffering=0) as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def line(path):
    s = os.lstat(path)
    relative = os.path.relpath(path, root)
    facts = [stat.filemode(s.st_mode), str(s.st_uid), str(s.st_gid), str(s.st_mtime_ns)]
    if stat.S_ISREG(s.st_mode):
        facts += [str(s.st_size), digest(path)]
        if s.st_nlink > 1:  # the first name of a hard-linked file stands for the others
            facts.append('=' + os.fsdecode(linked.setdefault((s.st_dev, s.st_ino), relative)))
    elif stat.S_ISLNK(s.st_mode):
        facts.append('-> ' + os.readlink(os.fsdecode(path)))
    names = sorted(os.listxattr(path, follow_symlinks=False))
    facts += ['%s=%s' % (n, os.getxattr(path, n, follow_symlinks=False).hex()) for n in names if n.startswith('user.')]
    return os.fsdecode(relative) + '\t' + ' '.join(facts)


for directory, names, files in os.walk(root):
    names.sort()
    for name in sorted(names + files):
        print(line(os.path.join(directory, name)).encode('utf-8', 'backslashreplace').decode())
