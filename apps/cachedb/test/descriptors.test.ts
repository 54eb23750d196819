import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { ReadFile } from '../src/segment/storage.ts'
import { contentsOf, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

/** A disk that counts the segments open for reading. A file that is closed under a read fails it. */
function countingDisk() {
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const openRead = storage.openRead.bind(storage)
  const open = new Set<ReadFile>()
  storage.openRead = path => {
    const inner = openRead(path)
    if (!/\/d\d+$/.test(path)) return inner
    const file: ReadFile = {
      path,
      sizeBytes: inner.sizeBytes,
      readSync: inner.readSync,
      read: async (offsetBytes, lengthBytes) => {
        await new Promise(resolve => setImmediate(resolve))
        assert(open.has(file), 'closed while it is read')
        return inner.read(offsetBytes, lengthBytes)
      },
      [Symbol.dispose]: () => void open.delete(file),
    }
    open.add(file)
    return file
  }
  return { storage, open }
}

test('as many files of segments are open as the limit says, and as many more as are being read at once', async () => {
  const { storage, open } = countingDisk()
  const context = engineContext(storage, prngFromSeed(1), { openFilesMax: 4 })
  const first = await openNamespace(context, 'user', { name: 'a' })
  const second = await openNamespace(context, 'user', { name: 'b' })
  const keys = Array.from({ length: 12 }, (_, i) => Buffer.from(`key${i}`))
  for (const namespace of [first, second]) {
    for (const key of keys) {
      namespace.put(key, key)
      namespace.jump()
    }
    await namespace.sync()
  }
  for (let turn = 0; turn < 100; turn++) await new Promise(resolve => setImmediate(resolve))
  for (const namespace of [first, second]) {
    assert.equal((await contentsOf(namespace)).size, keys.length)
    assert.equal(open.size, 4)
  }
  const values = await Promise.all(keys.map(async key => first.get(key, { cold: 'wait' })))
  assert.deepEqual(values, keys)
  await first.get(keys[0]!, { cold: 'wait' })
  await first.get(keys[11]!, { cold: 'wait' })
  await second.get(keys[0]!, { cold: 'wait' })
  assert.equal(open.size, 4)
  assert([...open].some(({ path }) => path === '/data/a/d0') && [...open].some(({ path }) => path === '/data/b/d0'))
  await first[Symbol.asyncDispose]()
  assert([...open].every(({ path }) => path.startsWith('/data/b/')))
  await second[Symbol.asyncDispose]()
  assert.equal(open.size, 0)
})

test('a file is removed also by a process that has no descriptor left', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'd0')
  writeFileSync(path, 'bytes')
  const script = `
    import { openSync } from 'node:fs'
    import { DiskStorage } from ${JSON.stringify(join(import.meta.dirname, '../src/segment/disk-storage.ts'))}
    try { for (;;) openSync('/dev/null', 'r') } catch {}
    new DiskStorage().remove(process.argv[1])
  `
  const limited = ['-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script, path]
  const { status, stderr } = spawnSync('sh', limited, { cwd: import.meta.dirname, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  assert(!existsSync(path))
})
