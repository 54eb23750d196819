"""A database in WAL mode (its index is memory shared through the mount) whose writer is killed again and again: what was committed is
there, and the database is whole."""
import os, signal, sqlite3, sys


def connect():
    db = sqlite3.connect('db', timeout=30, isolation_level=None)
    assert db.execute('pragma journal_mode=wal').fetchone() == ('wal',)
    db.execute('pragma synchronous=full')
    return db


def write_for_ever(out):
    db = connect()
    first = db.execute('select coalesce(max(n), 0) from t').fetchone()[0] + 1
    for n in range(first, first + 1000000):
        db.execute('begin immediate')
        db.execute('insert into t values (?, ?)', (n, os.urandom(n % 3000)))
        db.execute('update total set n = n + ?', (n,))
        db.execute('commit')
        os.write(out, b'%d\n' % n)


def writer_until(count):
    """Kills it after so many commits were heard of. Returns the last one."""
    heard, out = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        write_for_ever(out)
    os.close(out)
    with os.fdopen(heard) as lines:
        last = 0
        for _ in range(count):
            last = int(lines.readline())
        os.kill(child, signal.SIGKILL)
        for line in lines:
            if line.endswith('\n'):
                last = int(line)
    os.waitpid(child, 0)
    return last


with_table = connect()
with_table.execute('create table t (n integer primary key, bytes blob)')
with_table.execute('create table total (n integer)')
with_table.execute('insert into total values (0)')
# A fork must not inherit a connection.
with_table.close()
for count in (10, 60, 30):
    last = writer_until(count)
    db = connect()
    rows = db.execute('select count(*), max(n), sum(n), sum(length(bytes) <> n % 3000) from t').fetchone()
    assert rows[1] >= last, (rows, last)
    assert rows == (rows[1], rows[1], rows[1] * (rows[1] + 1) // 2, 0), rows
    assert db.execute('select n from total').fetchone()[0] == rows[2]
    assert db.execute('pragma integrity_check').fetchall() == [('ok',)]
    if count == 60:
        db.execute('pragma wal_checkpoint(truncate)')
    db.close()
