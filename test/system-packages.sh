#!/bin/sh
# What the tests need beside npm's packages. As root on Debian it is installed; elsewhere what is missing is named and the tests
# do not start: none of them is ever skipped.
set -eu
missing=
need() { # package, then how to see that it is there
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
library() { ldconfig -p | grep -q "$1"; }
PATH=$PATH:/usr/sbin:/sbin
need fuse3 command -v fusermount3
need libfuse2 library libfuse.so.2
need libatomic1 library libatomic.so.1 # Node 26 links it
need python3 command -v python3
need procps command -v ps
need openssl command -v openssl # certificates of tests
need redis-tools command -v redis-cli
need attr command -v setfattr
need acl command -v setfacl
need git command -v git # programs that run on the mount
need rsync command -v rsync
need make command -v make
need gcc command -v gcc
need libc6-dev test -e /usr/include/stdio.h
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests: this machine lacks$missing (names of Debian packages); install them, or run as root on Debian" >&2
  exit 1
fi
echo "tests: installing$missing" >&2
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
