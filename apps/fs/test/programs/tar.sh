#!/bin/sh
# What goes into an archive with --xattrs and --acls comes out of it.
set -eu
mkdir -p tree/private
for i in $(seq 50); do seq "$((i * 100))" > "tree/$i"; done
setfattr -n user.comment -v "$(seq 300)" tree/1
setfattr -n security.label -v 0x00ff tree/2
setfattr -n trusted.note -v note tree/private
setfacl -m u:1234:rwx,g:77:r tree/3
setfacl -d -m u:1234:rwx tree/private
ln tree/4 tree/hard
ln -s 5 tree/soft
mkfifo tree/fifo
mknod tree/null c 1 3
truncate -s 30M tree/sparse
printf end >> tree/sparse
chmod 2750 tree/private
chown -R 1000:1000 tree/private
touch -d '2001-02-03 04:05:06.789012345' tree/6
describe() (
  cd "$1"
  find . | LC_ALL=C sort > ../names
  xargs stat -c '%n %a %u %g %h %s %Y %t %T' < ../names
  xargs getfattr -d -m - -e hex --no-dereference < ../names
  xargs getfacl -n -p < ../names
  find . -type f | LC_ALL=C sort | xargs sha256sum
)
tar --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -C tree -cf archive.tar .
mkdir copy
tar --xattrs --xattrs-include='*' --acls --numeric-owner -C copy -xpf archive.tar
describe tree > before
describe copy > after
cmp before after
test "$(stat -c %b copy/sparse)" -lt 1000
test copy/4 -ef copy/hard
