import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import type { Backend, BackendLink, RecordBackend } from '../src/backend/backend.ts'

/** How a kind of backend is opened, and what it says of its syncs. */
export interface BackendKind {
  readonly name: string
  readonly durability: 'disk' | 'memory' | 'unknown'
  /** How it is reached; nothing for what is local. */
  readonly link?: BackendLink
  /** A fresh place; disposed after the test. `reopen` opens the same place again. */
  open(stack: AsyncDisposableStack): Promise<{ backend: Backend; reopen: (() => Promise<Backend>) | null }>
  openRecords(stack: AsyncDisposableStack): Promise<RecordBackend>
}

/** What every backend promises, whatever holds its bytes. */
export function backendSuite(kind: BackendKind): void {
  describe(`pieces in ${kind.name}`, () => {
    test('gives back what was put, after a sync too', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      for (const size of [1, 17, 4096, 262_160]) {
        const bytes = randomBytes(size)
        const id = await backend.put(bytes)
        assert.deepStrictEqual(await backend.get(id), bytes)
        await backend.sync({ ids: [id] })
        assert.deepStrictEqual(await backend.get(id), bytes)
      }
    })

    test('puts that are started one after the other get ascending ids', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      const ids = await Promise.all(Array.from({ length: 40 }, (_, i) => backend.put(Buffer.from(`piece ${i}`))))
      assert.deepStrictEqual(
        ids,
        [...ids].sort((a, b) => a - b),
      )
      assert.strictEqual(new Set(ids).size, 40)
      assert.strictEqual(String(await backend.get(ids[7]!)), 'piece 7')
    })

    test('equal values are two pieces', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      const [a, b] = [await backend.put(Buffer.from('same')), await backend.put(Buffer.from('same'))]
      await backend.remove([a])
      assert.strictEqual(String(await backend.get(b)), 'same')
    })

    test('removes, and says what is missing', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      const id = await backend.put(Buffer.from('gone soon'))
      await backend.remove([id, id, 123_456])
      await assert.rejects(backend.get(id), { name: 'StorError', reason: 'missing' })
      await assert.rejects(backend.get(999_999), { name: 'StorError', reason: 'missing' })
    })

    test('lists what is there, and says how much', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      const ids = await Promise.all(Array.from({ length: 10 }, () => backend.put(randomBytes(100))))
      await backend.remove([ids[3]!])
      const listed: number[] = []
      for await (const batch of backend.list()) listed.push(...batch)
      assert.deepStrictEqual(
        listed,
        ids.filter((_, i) => i !== 3),
      )
      const stat = await backend.stat()
      assert.strictEqual(stat.valueCount, 9)
      assert.strictEqual(stat.durability, kind.durability)
      assert.deepStrictEqual(stat.link, kind.link)
      assert.ok(stat.usedBytes === null || stat.usedBytes >= 900)
    })

    test('honours a signal', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend } = await kind.open(stack)
      await assert.rejects(backend.put(Buffer.from('x'), { signal: AbortSignal.abort() }), { name: 'AbortError' })
    })

    test('never gives an id twice, a reopening in between', async () => {
      await using stack = new AsyncDisposableStack()
      const { backend, reopen } = await kind.open(stack)
      if (reopen === null) return
      const before = await backend.put(Buffer.from('before'))
      await backend.sync()
      await backend.remove([before])
      const again = await reopen()
      assert.ok((await again.put(Buffer.from('after'))) > before)
    })
  })

  describe(`records in ${kind.name}`, () => {
    test('sets, replaces, removes, lists', async () => {
      await using stack = new AsyncDisposableStack()
      const records = await kind.openRecords(stack)
      const key = Buffer.from([0x6f, 0, 255, 10, 13])
      assert.strictEqual(await records.get(key), null)
      await records.set(key, Buffer.from('one'))
      await records.set(key, Buffer.from('one'))
      await records.set(key, Buffer.from('two'))
      assert.strictEqual(String(await records.get(key)), 'two')
      const others = Array.from({ length: 7 }, (_, i) => Buffer.from(`key ${i}`))
      await Promise.all(others.map(other => records.set(other, randomBytes(300))))
      const listed = new Set<string>()
      for await (const batch of records.list()) for (const found of batch) listed.add(found.toString('hex'))
      assert.deepStrictEqual(listed, new Set([key, ...others].map(found => found.toString('hex'))))
      await records.remove(key)
      await records.remove(key)
      assert.strictEqual(await records.get(key), null)
      const stat = await records.stat()
      assert.strictEqual(stat.valueCount, 7)
      assert.strictEqual(stat.durability, kind.durability)
      assert.deepStrictEqual(stat.link, kind.link)
    })

    test('an empty place lists nothing', async () => {
      await using stack = new AsyncDisposableStack()
      const records = await kind.openRecords(stack)
      for await (const batch of records.list()) assert.strictEqual(batch.length, 0)
    })
  })
}
