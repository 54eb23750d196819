import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { seededPrng } from '@qsfs/testkit/prng'
import { MemoryStore } from '../store/memory-store.ts'
import { MetadataLog } from './metadata-log.ts'
import { decodeTransaction, TransactionLimit } from './transaction-format.ts'

/** A store whose answers a test can hold back, refuse and count. */
class WatchedStore extends MemoryStore {
  syncCount = 0
  deletedIds: number[] = []
  /** Sizes of the transactions that were stored. */
  readonly transactionBytes: number[] = []
  refuseRecords: FuseError | null = null
  gate: Promise<void> = Promise.resolve()

  override async setRecord(key: string, value: Buffer): Promise<void> {
    await this.gate
    if (this.refuseRecords !== null) throw this.refuseRecords
    if (decodeTransaction(value) !== null) this.transactionBytes.push(value.length)
    await super.setRecord(key, value)
  }

  override async deleteBlocks(ids: readonly number[]): Promise<void> {
    this.deletedIds.push(...ids)
    await super.deleteBlocks(ids)
  }

  override async sync(): Promise<void> {
    this.syncCount++
    await this.gate
    await super.sync()
  }
}

function openLog(store: MemoryStore, clock = new ManualClock()): Promise<MetadataLog> {
  return MetadataLog.open(store, clock, silentLog)
}

function record(key: string, text: string | null) {
  return { key, encode: () => (text === null ? null : Buffer.from(text)) }
}

async function readText(log: MetadataLog, key: string): Promise<string | undefined> {
  return (await log.read(key))?.toString()
}

test('what changed something has noted it by the time its transaction is sealed', async () => {
  let isNoted = false
  const wasNoted: boolean[] = []
  const options = { commitDelayMs: 1000, onSeal: () => wasNoted.push(isNoted) }
  const log = await MetadataLog.open(new MemoryStore(), new ManualClock(), silentLog, options)
  log.touch(record('r', 'changed'))
  const commit = log.commit()
  for (let i = 0; i < 10; i++) await null
  isNoted = true
  await commit
  assert.deepEqual(wasNoted, [true])
})

test('a reader sees the newest bytes, whether touched, on their way, committed or home', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  let text = 'touched'
  log.touch({ key: 'r', encode: () => Buffer.from(text) })
  assert.equal(await readText(log, 'r'), 'touched')
  const gate = Promise.withResolvers<void>()
  store.gate = gate.promise
  const commit = log.commit()
  await turn()
  assert.equal(await readText(log, 'r'), 'touched')
  text = 'touched again'
  log.touch({ key: 'r', encode: () => Buffer.from(text) })
  assert.equal(await readText(log, 'r'), 'touched again')
  gate.resolve()
  await commit
  await log.commit()
  assert.equal(await readText(log, 'r'), 'touched again')
  await log[Symbol.asyncDispose]()
  const reopened = await openLog(store)
  assert.equal(await readText(reopened, 'r'), 'touched again')
  assert.equal(reopened.session, log.session + 1)
  reopened.touch(record('r', null))
  assert.equal(await reopened.read('r'), null)
  await reopened[Symbol.asyncDispose]()
  assert.equal(await store.getRecord('r'), null)
})

test('callers of fsync share syncs, but none that was under way when they came', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  log.touch(record('a', '1'))
  const before = store.syncCount
  const gate = Promise.withResolvers<void>()
  store.gate = gate.promise
  const first = log.fsync()
  await turn()
  log.touch(record('b', '1'))
  const others = Array.from({ length: 50 }, () => log.fsync())
  gate.resolve()
  await Promise.all([first, ...others])
  assert.equal(store.syncCount - before, 2)
  assert.equal(store.synced, store.answered)
})

test('a transaction stays below its limit, however many operations wait for room', async t => {
  const prng = seededPrng(t)
  const store = new WatchedStore()
  const log = await openLog(store)
  const expected = new Map<string, Buffer>()
  const operation = async (index: number) => {
    await log.room()
    for (let left = prng.below(TransactionLimit.operationBytes - 2000); left > 0; left -= 16_000) {
      const key = `r${index % 97}-${left % 7}`
      const bytes = prng.bytes(Math.min(left, 15_000))
      expected.set(key, bytes)
      log.touch({ key, encode: () => bytes })
    }
  }
  await Promise.all(Array.from({ length: 400 }, (_, i) => operation(i)))
  await log.fsync()
  assert.ok(store.transactionBytes.length > 3)
  assert.ok(Math.max(...store.transactionBytes) <= TransactionLimit.bytes, `${store.transactionBytes}`)
  for (const [key, bytes] of expected) assert.deepEqual(await log.read(key), bytes)
})

test('small operations share a transaction instead of paying for what they declare', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  for (let i = 0; i < 1000; i++) {
    await log.room()
    log.touch(record(`r${i}`, 'small'))
  }
  await log.commit()
  assert.equal(store.transactionBytes.length, 1)
})

test('a refused transaction is kept, told to whoever asks, and sent first once there is room', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  store.refuseRecords = new FuseError('ENOSPC')
  log.touch(record('a', 'kept'))
  await assert.rejects(log.fsync(), store.refuseRecords)
  log.touch(record('b', 'later'))
  await assert.rejects(log.commit(), store.refuseRecords)
  await assert.rejects(log.room() ?? Promise.resolve(), store.refuseRecords)
  assert.equal(await readText(log, 'a'), 'kept')
  store.refuseRecords = null
  await log.room()
  await log.fsync()
  const reopened = await openLog(store)
  assert.equal(await readText(reopened, 'a'), 'kept')
  assert.equal(await readText(reopened, 'b'), 'later')
})

test('the ring goes round many times without a transaction being lost', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  for (let i = 0; i < 5000; i++) {
    log.touch(record(`r${i % 700}`, String(i)))
    await log.commit()
  }
  await log.fsync()
  const reopened = await openLog(store)
  for (let i = 4300; i < 5000; i++) assert.equal(await readText(reopened, `r${i % 700}`), String(i))
  assert.equal(reopened.isNew, false)
})

test('what was touched is committed after a while, and freed blocks go once that is synced', async () => {
  const store = new WatchedStore()
  const clock = new ManualClock()
  const log = await openLog(store, clock)
  const [named, loose] = [await log.putBlock(Buffer.from('named')), await log.putBlock(Buffer.from('loose'))]
  log.addBlocks([named])
  log.touch(record('r', 'names it'))
  await clock.advance(1000)
  assert.equal(store.transactionBytes.length, 1)
  log.freeBlocks([named, loose])
  log.touch(record('r', null))
  await clock.advance(1000)
  assert.equal(store.transactionBytes.length, 2)
  assert.deepEqual(store.deletedIds, [])
  await store.sync()
  await clock.advance(1000)
  assert.deepEqual(store.deletedIds, [named, loose])
  assert.equal(store.blockCount, 0)
  assert.equal(clock.pendingCount, 0)
})

test('blocks that no transaction named are gone after the next mount, the named ones stay', async () => {
  const store = new WatchedStore()
  const log = await openLog(store)
  const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => log.putBlock(Buffer.from(`block ${i}`))))
  log.addBlocks(ids.filter(id => id % 2 === 0))
  await log.fsync()
  await openLog(store)
  assert.equal(store.blockCount, 5)
})

test('a store with blocks and no checkpoint is not taken for an empty filesystem', async () => {
  const store = new MemoryStore()
  await store.putBlock(Buffer.from('of somebody else'))
  await assert.rejects(openLog(store), { code: 'EIO' })
  assert.equal(store.blockCount, 1)
})

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
