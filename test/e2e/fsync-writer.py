#!/usr/bin/env python3
"""Writes small files in a directory for ever, each followed by fsync, and prints a file's number only once its fsync said yes.
An error of the filesystem (its daemon was just killed) is no end: the next number is tried until the mount is back."""
import os, sys, time

directory, number = sys.argv[1], int(sys.argv[2])


def content(n):
    return (b'%d ' % n) * (1 + n % 3000)


while True:
    path = '%s/%d' % (directory, number)
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, content(number))
            os.fsync(fd)
        finally:
            os.close(fd)
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
        print(number, flush=True)
    except OSError as error:
        print('retry %s' % error, file=sys.stderr, flush=True)
        time.sleep(0.05)
    number += 1
