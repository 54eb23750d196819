#!/bin/sh
# A C program of thirty files: built, run, and not built again.
set -eu
{
  echo 'objects := $(patsubst %.c,%.o,$(wildcard *.c))'
  echo 'sum: $(objects)'
  printf '\t$(CC) -o $@ $^\n'
  echo '%.o: %.c all.h'
  printf '\t$(CC) -O1 -c -o $@ $<\n'
} > Makefile
: > all.h
calls=0
for i in $(seq 30); do
  echo "int f$i(void);" >> all.h
  printf '#include "all.h"\nint f%d(void) { return %d; }\n' "$i" "$i" > "f$i.c"
  calls="$calls + f$i()"
done
printf '#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%%d\\n", %s); return 0; }\n' "$calls" > main.c
make -s -j2
test "$(./sum)" = 465
make -q
touch f7.c
if make -q; then exit 1; fi
test "$(make -n | grep -c -- -c)" = 1
