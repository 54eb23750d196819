import assert from 'node:assert'
import { test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { MemoryStore } from '../src/store/memory-store.ts'
import { context, Driver } from './driver.ts'

test('a directory of 100,000 names agrees with a Map, and a change in it touches few bytes', async t => {
  const prng = seededPrng(t)
  // All records stay in memory: nothing below waits for one.
  await using driver = await Driver.mount(new MemoryStore(), { recordBytesMax: 1e9 })
  const { directories, inodes, metadata, records } = driver.volume
  const names = new Map<string, number>()
  const root = inodes.get(1)
  for (let count = 0; count < 100_000; count++) {
    const room = metadata.room()
    if (room !== undefined) await room
    // Raw bytes, short and long, as latin1.
    const name = `${prng.below(1e9)}-${prng.bytes(1 + prng.below(4)).toString('latin1')}-${'x'.repeat(prng.below(8))}`
    if (names.has(name)) continue
    directories.add(inodes.get(1), name, count + 2, 8)
    inodes.touch(root)
    names.set(name, count + 2)
  }
  const listed = new Set<string>()
  let lastCookie = -1
  for (const { name, nodeId, cookie } of directories.list(root, 0)) {
    assert(cookie > lastCookie, 'in order, no cookie twice')
    lastCookie = cookie
    assert.strictEqual(names.get(name), nodeId)
    listed.add(name)
  }
  assert.strictEqual(listed.size, names.size)
  assert.strictEqual(root.nameCount, names.size)

  await metadata.commit()
  const touched: number[] = []
  const { touch } = records
  t.mock.method(records, 'touch', (record: Parameters<typeof touch>[0]) => {
    touch.call(records, record)
    touched.push(record.encode()?.length ?? 0)
  })
  for (let round = 0; round < 50; round++) {
    touched.length = 0
    directories.add(root, `one more ${round}`, 7, 8)
    const bytes = touched.reduce((sum, length) => sum + length, 0)
    assert(bytes <= 16 * 1024 && touched.length <= 18, `${touched.length} records, ${bytes} bytes`)
    directories.remove(root, `one more ${round}`)
  }
  t.mock.restoreAll()

  for (const name of names.keys()) {
    const room = metadata.room()
    if (room !== undefined) await room
    directories.remove(root, name)
  }
  assert.deepStrictEqual([...directories.list(root, 0)], [])
  assert.strictEqual(root.nameCount, 0)
})

test('names that stay are listed once while others come and go and buckets split', async t => {
  const prng = seededPrng(t)
  await using driver = await Driver.mount(new MemoryStore())
  for (let index = 0; index < 100; index++) await driver.create(`stays ${index}`)
  const seen: string[] = []
  await driver.at('', async nodeId => {
    let cursor = 0n
    for (let round = 0, isDone = false; !isDone; round++) {
      isDone = true
      let room = 5
      const fill = (name: Buffer, _child: number, _mode: number, next: bigint) => {
        if (room-- === 0) return false
        isDone = false
        seen.push(name.toString())
        cursor = next
        return true
      }
      await driver.filesystem.readdir(nodeId, 0, cursor, false, fill, context)
      for (let made = 0; round < 30 && made < 20; made++) await driver.create(`comes ${prng.below(1e12)}`)
      const goes = seen.find(name => name.startsWith('comes'))
      if (goes !== undefined) {
        await driver.unlink(goes)
        seen.splice(seen.indexOf(goes), 1)
      }
    }
  })
  const stayed = seen.filter(name => name.startsWith('stays'))
  assert.strictEqual(stayed.length, 100)
  assert.strictEqual(new Set(stayed).size, 100)
})
