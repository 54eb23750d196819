#!/usr/bin/env python3
"""Reads numbers from stdin and compares each file that fsync-writer.py acknowledged; prints how many, exits 1 at a difference."""
import os, sys

directory = sys.argv[1]
count, bad = 0, []
for text in sys.stdin:
    number = int(text)
    want = (b'%d ' % number) * (1 + number % 3000)
    try:
        with open('%s/%d' % (directory, number), 'rb') as file:
            got = file.read()
        if got != want:
            bad.append('%d: %d bytes, not the %d written' % (number, len(got), len(want)))
    except OSError as error:
        bad.append('%d: %s' % (number, error))
    count += 1
print(count)
for text in bad[:20]:
    print(text, file=sys.stderr)
sys.exit(1 if bad else 0)
