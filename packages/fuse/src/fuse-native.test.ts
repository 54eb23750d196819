import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { serveFuseNative } from './fuse-native.ts'
import { PathNodes } from './path-nodes.ts'
import { MemoryFilesystem } from './testing/memory-filesystem.ts'

const run = promisify(execFile)
const context = { uid: 0, gid: 0, pid: 0, signal: new AbortController().signal }

test('files through fuse-native', async () => {
  await using directory = await temporaryDirectory()
  const mountpoint = directory.path
  const filesystem = new MemoryFilesystem()
  const mount = await serveFuseNative(filesystem, { mountpoint, fsname: 'test', allowOther: false, log: silentLog })
  const sh = async (script: string) => {
    const limits = { timeout: 30_000, killSignal: 'SIGKILL' } as const
    return (await run('sh', ['-euc', `cd "$0"; ${script}`, mountpoint], limits)).stdout
  }
  try {
    assert.equal(await sh('echo hello > a; cat a; stat -c "%s %a %h" a; test ! -e b'), 'hello\n6 644 1\n')
    await sh(
      'head -c 3200000 /dev/urandom > big; sha256sum big > sum; echo 3 > /proc/sys/vm/drop_caches; sha256sum -c sum',
    )
    assert.equal(await sh('truncate -s 5 a; echo -n xyz >> a; cat a; : > a; stat -c %s a'), 'helloxyz0\n')
    await sh('ln -s some/target s; test "$(readlink s)" = some/target; ln a a2; test "$(stat -c %h a)" = 2; rm a2')
    await sh('mkdir -p d/e; echo deep > d/e/f; cat d/e/f; mv d g; test "$(cat g/e/f)" = deep; test ! -e d/e/f')
    await sh('rmdir g 2>/dev/null && exit 1; rm g/e/f; rmdir g/e g')
    await sh('chmod 600 a; chown 12 a; test "$(stat -c "%a %u %g" a)" = "600 12 0"')
    await sh('touch -d "2001-02-03 04:05:06.789 UTC" a; test "$(stat -c %.3Y a)" = 981173106.789')
    await sh('for i in $(seq 300); do : > n$i; done; test "$(ls | wc -l)" = 304; rm n*')
    await sh(
      'setfattr -n user.k -v value a; test "$(getfattr --only-values -n user.k a)" = value; setfattr -x user.k a',
    )
    await sh('exec 3<>u; rm u; echo unlinked >&3; test "$(cat /proc/self/fd/3)" = unlinked')
  } finally {
    await mount.unmount()
  }
  assert.equal(filesystem.destroyed, true)
  assert.equal(filesystem.lookupCounts.size, 0, 'every lookup was given back')
})

test('the path cache gives back the lookups it drops', async () => {
  const filesystem = new MemoryFilesystem()
  const nodes = new PathNodes(filesystem, context, { pathsMax: 3 })
  nodes.remember('/d', filesystem.mkdir(1, Buffer.from('d'), 0o40755, context))
  const d = await nodes.node('/d')
  for (const name of ['a', 'b', 'c', 'e'])
    nodes.remember(`/d/${name}`, filesystem.create(d, Buffer.from(name), 0, 0, context))
  assert.equal(filesystem.lookupCounts.size, 3)
  const held = await nodes.hold('/d/a')
  nodes.invalidate('/d')
  assert.deepEqual([...filesystem.lookupCounts.keys()], [held])
  nodes.release(held)
  assert.equal(filesystem.lookupCounts.size, 0)
  await assert.rejects(nodes.node('/d/none'), { code: 'ENOENT' })
  nodes.clear()
  assert.equal(filesystem.lookupCounts.size, 0)
})
