import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import type { BackendOptions, PieceId } from '../src/backend/backend.ts'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { StorError } from '../src/errors.ts'
import { defaultFramePoolLimits, FramePool } from '../src/pipeline/frame-pool.ts'
import { decodeShardHeader, shardHeaderHolds } from '../src/pipeline/piece.ts'
import { readRange } from '../src/pipeline/retrieve.ts'
import { nameContext } from '../src/pipeline/store.ts'
import { PipelineRig } from './pipeline-rig.ts'

// One for all tests: starting its threads takes longer than most of them.
const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

async function rigWithFile(sizeBytes = 1_000_000) {
  const stack = new AsyncDisposableStack()
  const tmp = stack.use(await temporaryDirectory())
  const backends = Array.from({ length: 6 }, (_, i) => new TrickyBackend(`b${i}`))
  const rig = new PipelineRig(pool, backends)
  const path = join(tmp.path, 'a-secret-name')
  const content = randomBytes(sizeBytes)
  await writeFile(path, content)
  const counts = async () => Promise.all(backends.map(async backend => (await backend.stat()).valueCount))
  return { backends, rig, path, content, counts, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

const readAll = { of: 'file', offsetBytes: 0, lengthBytes: 1e9 } as const

test('with a backend down the object is stored at the write quorum, and says which shard is owed', async () => {
  await using house = await rigWithFile()
  const { rig, path, content, counts } = house
  rig.down.add('b2')
  const record = await rig.store(path)
  assert.deepEqual(
    record.shards.map(({ confirmed }) => confirmed),
    [true, true, false, true, true, true],
  )
  assert.equal(record.shards[2]!.runs.length, 0)
  assert.equal((await counts())[2], 0)
  assert.ok((await readRange(record, readAll, rig.readContext)).equals(content))
  rig.down.clear()
  const whole = await rig.store(path)
  assert.equal(whole.shards.filter(({ confirmed }) => confirmed).length, 6)
  rig.down.add('b0').add('b1')
  await assert.rejects(rig.store(path), { reason: 'too-few-shards', retryable: true })
})

test('a backend that fails half way is owed its shard, and what it got is owed for removal', async () => {
  await using house = await rigWithFile()
  const { rig, path, backends, content, counts } = house
  for (const reason of ['unavailable', 'full', 'damaged'] as const) {
    const before = await counts()
    backends[4]!.failPutAfter(7, new StorError(reason, `b4 is ${reason}`))
    const record = await rig.store(path)
    assert.deepEqual(record.shards[4]!, { ...record.shards[4]!, confirmed: false, runs: [] })
    assert.equal(record.shards.filter(({ confirmed }) => confirmed).length, 5)
    const owedCount = record.owed.flatMap(({ runs }) => runs).reduce((sum, { count }) => sum + count, 0)
    assert.equal(owedCount, (await counts())[4]! - before[4]!)
    assert.ok((await readRange(record, readAll, rig.readContext)).equals(content))
  }
  backends[4]!.failPutAfter(Number.POSITIVE_INFINITY, null)
  backends[1]!.syncError = new StorError('missing', 'b1 was restarted')
  assert.equal((await rig.store(path)).shards[1]!.confirmed, false)
})

test('below the write quorum the store fails with the reasons, and nothing stays', async () => {
  await using house = await rigWithFile()
  const { rig, path, backends, counts } = house
  backends[4]!.failPutAfter(7, new StorError('unavailable', 'b4 is gone'))
  await assert.rejects(rig.store(path, { writeQuorum: 6 }), {
    reason: 'too-few-shards',
    retryable: true,
    message: 'only 5 of 6 shards could be stored, at least 6 must be: b4 is gone',
  })
  backends[2]!.failPutAfter(9, new StorError('full', 'b2 is full'))
  await assert.rejects(rig.store(path), (error: StorError) => {
    assert.match(error.message, /only 4 of 6 shards could be stored, at least 5 must be: b2 is full; b4 is gone/)
    return error.cause instanceof StorError && error.cause.reason === 'full'
  })
  assert.deepEqual(await counts(), [0, 0, 0, 0, 0, 0])
})

test('a backend that says yes and keeps nothing is found out before the record is written', async () => {
  await using house = await rigWithFile()
  const { rig, path, backends } = house
  const lies = [
    async () => randomBytes(100),
    async () => {
      throw new StorError('missing', 'never heard of it')
    },
  ]
  for (const lie of lies) {
    backends[3]!.getInstead = lie
    let committed = false
    const commit = async () => {
      committed = true
    }
    await assert.rejects(rig.store(path, { writeQuorum: 6 }, commit), { reason: 'too-few-shards' })
    assert.equal(committed, false)
    const record = await rig.store(path, {}, commit)
    assert.equal(record.shards[3]!.confirmed, false)
  }
})

test('a crash between shards and record leaves orphans that harm nobody', async () => {
  await using house = await rigWithFile()
  const { rig, path, content, counts } = house
  const crash = new Error('power cut before the record')
  await assert.rejects(
    rig.store(path, {}, async () => {
      throw crash
    }),
    crash,
  )
  // The record may have been written after all: its shards must be there.
  assert.ok((await counts()).every(count => count === 16))
  const record = await rig.store(path)
  assert.ok((await readRange(record, readAll, rig.readContext)).equals(content))
})

test('an aborted store says why, removes its shards and gives back its slots', async () => {
  await using house = await rigWithFile(3_000_000)
  const { rig, path, backends, counts } = house
  for (const afterPuts of [0, 5, 30]) {
    const abort = new AbortController()
    const reason = new Error('stopping')
    backends[0]!.failPutAfter(afterPuts, null, () => abort.abort(reason))
    await assert.rejects(rig.store(path, {}, undefined, abort.signal), reason)
    assert.deepEqual(await counts(), [0, 0, 0, 0, 0, 0])
  }
  backends[0]!.failPutAfter(Number.POSITIVE_INFINITY, null)
  await Promise.all([rig.store(path), rig.store(path), rig.store(path)])
})

test('no more frames are under way than allowed, however slow the backends are', async () => {
  await using house = await rigWithFile(8_000_000)
  const { rig, path, backends } = house
  for (const backend of backends) backend.slow = true
  await Promise.all([rig.store(path, { frameBytes: 128 * 1024 }), rig.store(path, { frameBytes: 128 * 1024 })])
  for (const { underWayMax } of backends) {
    assert.ok(underWayMax <= defaultFramePoolLimits.framesInFlightMax, `${underWayMax} puts at once`)
    assert.ok(underWayMax > 1)
  }
})

test('every attempt has its own id and key: no two pieces are ever alike', async () => {
  await using house = await rigWithFile(100_000)
  const { rig, path, backends } = house
  const [one, two] = [await rig.store(path), await rig.store(path)]
  assert.notDeepEqual(one.objectId, two.objectId)
  const values = (await Promise.all(backends.map(backend => backend.everything()))).flat()
  assert.equal(new Set(values.map(value => value.subarray(40, 120).toString('hex'))).size, values.length)
})

test('all backends together never see the name or the content', async () => {
  await using house = await rigWithFile()
  const { rig, path, backends } = house
  const line = 'the quick brown fox keeps a secret\n'
  await writeFile(path, line.repeat(5000))
  await rig.store(path)
  const seen = Buffer.concat((await Promise.all(backends.map(backend => backend.everything()))).flat())
  assert.ok(seen.length > 1000)
  for (const secret of [line.slice(0, 12), 'a-secret-name', path]) assert.equal(seen.indexOf(secret), -1)
})

test('each shard begins with a header from which the record could be rebuilt', async () => {
  await using house = await rigWithFile(100_000)
  const { rig, path, backends } = house
  const record = await rig.store(path, { epoch: 7 })
  for (const { index, backend, runs } of record.shards) {
    const value = await backends.find(({ name }) => name === backend)!.get(runs[0]!.start)
    const { shard, headerBytes } = decodeShardHeader(value)
    const { objectId, uploadId, wrappedKey, dataShards, totalShards, frameBytes } = record
    const { sealedName, startedMs, epoch, ...rest } = shard
    assert.equal(epoch, 7)
    assert.equal(startedMs, record.createdMs)
    for (const [key, value] of Object.entries({
      objectId,
      uploadId,
      wrappedKey,
      dataShards,
      totalShards,
      frameBytes,
    })) {
      assert.deepEqual(rest[key as keyof typeof rest], value)
    }
    assert.equal(shard.shardIndex, index)
    assert.equal(rig.keys.openRecord(sealedName, nameContext(objectId)).toString(), path)
    const { headers } = rig.keys.openObjectKeys(shard.wrappedKey, objectId)
    assert.ok(shardHeaderHolds(value, headerBytes, headers))
    value[30]! ^= 1
    assert.ok(!shardHeaderHolds(value, headerBytes, headers))
  }
})

class TrickyBackend extends MemoryBackend {
  syncError: Error | null = null
  getInstead: (() => Promise<Buffer>) | null = null
  slow = false
  underWayMax = 0
  #underWay = 0
  #putsLeft = Number.POSITIVE_INFINITY
  #putError: Error | null = null
  #onPut: () => void = () => undefined

  /** After so many puts something happens, and they fail if an error is given. */
  failPutAfter(putCount: number, error: Error | null, onPut: () => void = () => undefined): void {
    this.#putsLeft = putCount
    this.#putError = error
    this.#onPut = onPut
  }

  override async put(bytes: Uint8Array, options?: BackendOptions): Promise<PieceId> {
    if (this.#putsLeft-- <= 0) {
      this.#onPut()
      if (this.#putError !== null) throw this.#putError
    }
    this.underWayMax = Math.max(this.underWayMax, ++this.#underWay)
    if (this.slow) await new Promise(resolve => setTimeout(resolve, 5))
    this.#underWay--
    return super.put(bytes, options)
  }

  override async get(id: PieceId, options?: BackendOptions): Promise<Buffer> {
    return this.getInstead === null ? super.get(id, options) : this.getInstead()
  }

  override async sync(): Promise<void> {
    if (this.syncError !== null) throw this.syncError
  }

  async everything(): Promise<Buffer[]> {
    const values: Buffer[] = []
    for await (const ids of this.list()) for (const id of ids) values.push(await super.get(id))
    return values
  }
}
