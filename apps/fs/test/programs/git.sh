#!/bin/sh
# A repository made elsewhere is cloned, changed, repacked and cloned again on the mount.
set -eu
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q "$elsewhere/r"
cd "$elsewhere/r"
for commit in 1 2 3; do
  mkdir -p "d$commit"
  for i in $(seq 100); do seq "$commit" "$((commit * i * 7))" > "d$commit/$i"; done
  git add .
  git commit -q -m "$commit"
done
head=$(git rev-parse HEAD)
cd - > /dev/null
git clone -q "$elsewhere/r" clone
cd clone
git fsck --full --strict
test "$(git rev-parse HEAD)" = "$head"
test -z "$(git status --porcelain)"
git checkout -q -b other
git mv d1 moved
echo changed >> d2/5
git commit -q -a -m changed
git gc -q
git fsck --full --strict
cd ..
git clone -q clone second
test "$(git -C second rev-parse HEAD)" = "$(git -C clone rev-parse HEAD)"
git -C second fsck --full --strict
test -z "$(git -C second status --porcelain)"
