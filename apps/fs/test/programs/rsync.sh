#!/bin/sh
# Onto the mount, and on the mount; the second time there is nothing to do.
set -eu
mkdir -p source/deep/er
for i in $(seq 150); do seq "$((i * 20))" > "source/deep/$i"; done
head -c 3000000 /dev/urandom > source/large
ln source/large source/hard
ln -s deep/7 source/soft
mkfifo source/fifo
truncate -s 20M source/sparse
chmod 4711 source/deep/3
chown 1234:4321 source/deep/4
setfattr -n user.comment -v 'a comment' source/deep/5
setfacl -m u:1234:rw source/deep/6
touch -d '1999-01-02 03:04:05.678901234' source/deep/8
changes() { rsync -aHAXS --delete --itemize-changes source/ target/; }
test -n "$(changes)"
test -z "$(changes)"
rsync -aHAXSc --dry-run --itemize-changes source/ target/ > differences
test ! -s differences
echo more >> source/deep/9
rm source/deep/10
test "$(changes | grep -c .)" = 3 # the file, the deletion, the directory's time
test -z "$(changes)"
