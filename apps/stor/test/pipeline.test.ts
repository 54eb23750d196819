import assert from 'node:assert'
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { KeyRing } from '@qsfs/crypto/keys'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { FrameCoding } from '../src/metadata/object-record.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { checksumOf, readRange, retrieveObject } from '../src/pipeline/retrieve.ts'
import { PipelineRig } from './pipeline-rig.ts'

// One for all tests: starting its threads takes longer than most of them.
const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

const compressible = Buffer.from('quick brown foxes jump over lazy dogs\n'.repeat(6000))

test('empty, tiny, compressible and incompressible files come back, attachment included', async () => {
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'd7')
  const hintPath = join(tmp.path, 'h7')
  const contents = [Buffer.alloc(0), Buffer.from('x'), compressible, randomBytes(700_001), randomBytes(65_536 * 2)]
  for (const content of contents) {
    const hint = randomBytes(content.length % 1000)
    await writeFile(path, content)
    await writeFile(hintPath, hint)
    const record = await rig.store(path, { attachmentPath: hintPath })
    assert.equal(record.sizeBytes, content.length)
    assert.deepEqual(record.sha256, createHash('sha256').update(content).digest())
    assert.ok(record.frames.every(frame => (frame.coding === FrameCoding.zstd) === (content === compressible)))
    const outPath = join(tmp.path, 'out')
    const outHintPath = join(tmp.path, 'out-hint')
    const done: number[] = []
    const onProgress = (doneBytes: number) => done.push(doneBytes)
    await retrieveObject(record, { path: outPath, attachmentPath: outHintPath, onProgress }, rig.readContext)
    assert.ok((await readFile(outPath)).equals(content))
    assert.ok((await readFile(outHintPath)).equals(hint))
    assert.equal(done.at(-1), content.length + hint.length)
  }
  assert.deepEqual(rig.faults, [])
  assert.deepEqual((await readdir(tmp.path)).sort(), ['d7', 'h7', 'out', 'out-hint'])
})

test('the plain checksum is zstor’s: BLAKE2b with 16 bytes', async () => {
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'abc')
  await writeFile(path, 'abc')
  const record = await rig.store(path)
  assert.equal(record.blake2b, null)
  assert.equal((await checksumOf(record, rig.readContext)).toString('hex'), 'cf4ab791c62b8d2b2109c90275287816')
  await assert.rejects(checksumOf({ ...record, sha256: Buffer.alloc(32) }, rig.readContext), { reason: 'damaged' })
})

test('every loss of two locations is survived, every loss of three is told', async t => {
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'd1')
  const outPath = join(tmp.path, 'out')
  const content = seededPrng(t).bytes(200_000)
  await writeFile(path, content)
  const record = await rig.store(path)
  const all = rig.backends
  for (let mask = 0; mask < 64; mask++) {
    rig.backends = all.map((backend, i) => ((mask >> i) & 1 ? new MemoryBackend(backend.name) : backend))
    const lostCount = [...mask.toString(2)].filter(bit => bit === '1').length
    const retrieving = retrieveObject(record, { path: outPath }, rig.readContext)
    if (lostCount <= 2) {
      await retrieving
      assert.ok((await readFile(outPath)).equals(content))
    } else {
      await assert.rejects(retrieving, { reason: 'too-few-shards' })
    }
  }
})

test('flipped, cut, swapped, replayed and duplicated pieces never give a wrong byte', async t => {
  const random = seededPrng(t)
  await using tmp = await temporaryDirectory()
  const backends = Array.from({ length: 6 }, (_, i) => new LyingBackend(`b${i}`))
  const rig = new PipelineRig(pool, backends)
  const path = join(tmp.path, 'd1')
  const outPath = join(tmp.path, 'out')
  const content = random.bytes(500_000)
  await writeFile(path, random.bytes(500_000))
  await rig.store(path)
  await writeFile(path, content)
  const record = await rig.store(path)
  const lies: Lie[] = [
    (value, id) => (id % 2 ? value : flip(value, random.below(value.length * 8))),
    value => value.subarray(0, random.below(value.length)),
    value => Buffer.concat([value, Buffer.alloc(16)]),
    (_value, id, held) => held(id === 0 ? 1 : id - 1),
    (_value, id, held) => held(id >= 8 ? id - 8 : id),
    (_value, _id, held) => held(9),
    () => Buffer.alloc(0),
    () => random.bytes(3000),
  ]
  for (const lie of lies) {
    for (let round = 0; round < 3; round++) {
      const liars = new Set([random.below(6), random.below(6)])
      backends.forEach((backend, i) => {
        backend.lie = liars.has(i) ? lie : null
      })
      await retrieveObject(record, { path: outPath }, rig.readContext)
      assert.ok((await readFile(outPath)).equals(content))
    }
    // Three liars: an error or the truth, never anything else, and nothing appears.
    backends.forEach((backend, i) => {
      backend.lie = i < 3 ? lie : null
    })
    const nowherePath = join(tmp.path, 'nowhere')
    await assert.rejects(retrieveObject(record, { path: nowherePath }, rig.readContext), { reason: 'too-few-shards' })
  }
  assert.ok(rig.faults.length > 0 && rig.faults.every(({ kind }) => kind === 'wrong' || kind === 'corrupt'))
  assert.deepEqual((await readdir(tmp.path)).sort(), ['d1', 'out'])
})

test('the shard of one backend on another is not taken for its own', async t => {
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'd1')
  await writeFile(path, seededPrng(t).bytes(200_000))
  const record = await rig.store(path)
  const swapped = {
    ...record,
    shards: record.shards.map(shard => ({ ...shard, backend: `b${(shard.index + 1) % 6}` })),
  }
  await assert.rejects(retrieveObject(swapped, { path: join(tmp.path, 'out') }, rig.readContext), {
    reason: 'too-few-shards',
  })
})

test('wrong, corrupt, missing, silent and slow backends are told apart, and a spare is asked for each', async t => {
  const random = seededPrng(t)
  await using tmp = await temporaryDirectory()
  const backends = Array.from({ length: 6 }, (_, i) => new LyingBackend(`b${i}`))
  const rig = new PipelineRig(pool, backends)
  const path = join(tmp.path, 'd1')
  const content = random.bytes(100)
  await writeFile(path, content)
  const record = await rig.store(path)
  const reads = async (lie: Lie) => {
    rig.faults.length = 0
    backends[0]!.lie = lie
    const read = await readRange(record, { of: 'file', offsetBytes: 0, lengthBytes: 1000 }, rig.readContext)
    assert.ok(read.equals(content))
    return rig.faults.map(({ kind, backend, frameNumber }) => ({ kind, backend, frameNumber }))
  }
  assert.deepEqual(await reads(value => flip(value, value.length * 8 - 1)), [
    { kind: 'corrupt', backend: 'b0', frameNumber: 0 },
  ])
  assert.deepEqual(await reads(() => backends[1]!.held(0)), [{ kind: 'wrong', backend: 'b0', frameNumber: 0 }])
  assert.deepEqual(await reads((_value, _id, held) => held(999)), [{ kind: 'missing', backend: 'b0', frameNumber: 0 }])
  assert.deepEqual(await reads(() => new Promise(() => undefined)), [{ kind: 'slow', backend: 'b0', frameNumber: 0 }])
  backends[0]!.lie = null
  rig.faults.length = 0
  rig.backends = backends.slice(1)
  await readRange(record, { of: 'file', offsetBytes: 0, lengthBytes: 1 }, rig.readContext)
  assert.deepEqual(
    rig.faults.map(({ kind }) => kind),
    ['unavailable'],
  )
  rig.faults.length = 0
  rig.down.add('b0')
  await readRange(record, { of: 'file', offsetBytes: 0, lengthBytes: 1 }, rig.readContext)
  assert.deepEqual(rig.faults, [])
})

test('a range reads only the frames that hold it', async t => {
  const random = seededPrng(t)
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'd1')
  const content = random.bytes(300_000)
  const hint = random.bytes(70_000)
  await writeFile(path, content)
  await writeFile(join(tmp.path, 'h1'), hint)
  const record = await rig.store(path, { attachmentPath: join(tmp.path, 'h1') })
  for (let round = 0; round < 50; round++) {
    const of = random.pick(['file', 'attachment'] as const)
    const bytes = of === 'file' ? content : hint
    const offsetBytes = random.below(bytes.length + 10)
    const lengthBytes = random.below(random.pick([10, 4096, 200_000]))
    const read = await readRange(record, { of, offsetBytes, lengthBytes }, rig.readContext)
    assert.ok(read.equals(bytes.subarray(offsetBytes, offsetBytes + lengthBytes)))
  }
})

test('another store’s key is told apart from damage', async t => {
  await using tmp = await temporaryDirectory()
  const rig = new PipelineRig(pool)
  const path = join(tmp.path, 'd1')
  await writeFile(path, seededPrng(t).bytes(1000))
  const record = await rig.store(path)
  const target = { path: join(tmp.path, 'out') }
  const foreign = { ...rig.readContext, keys: KeyRing.fresh(randomBytes) }
  await assert.rejects(retrieveObject(record, target, foreign), { reason: 'wrong-key' })
  const hurt = { ...record, wrappedKey: flip(record.wrappedKey, 700) }
  await assert.rejects(retrieveObject(hurt, target, rig.readContext), { reason: 'damaged' })
  await assert.rejects(retrieveObject({ ...record, state: 'deleted' }, target, rig.readContext), {
    reason: 'not-found',
  })
  assert.deepEqual(await readdir(tmp.path), ['d1'])
})

test('a file that changes under the store is not stored', async () => {
  await using tmp = await temporaryDirectory()
  const backends = Array.from({ length: 6 }, (_, i) => new LyingBackend(`b${i}`))
  const rig = new PipelineRig(pool, backends)
  const path = join(tmp.path, 'd1')
  await writeFile(path, randomBytes(300_000))
  backends[3]!.beforeSync = () => writeFile(path, randomBytes(300_000))
  await assert.rejects(rig.store(path), { reason: 'file', message: /changed while/ })
  await writeFile(path, randomBytes(300_000))
  backends[3]!.beforeSync = () => truncate(path, 5)
  await assert.rejects(rig.store(path), { reason: 'file' })
  await assert.rejects(rig.store(join(tmp.path, 'absent')), { reason: 'file', message: /ENOENT/ })
  await assert.rejects(rig.store(tmp.path), { reason: 'file', message: /not a regular file/ })
  for (const backend of backends) assert.equal((await backend.stat()).valueCount, 0)
})

/** What a backend answers instead of a value. */
type Lie = (value: Buffer, id: number, held: (id: number) => Promise<Buffer>) => Buffer | Promise<Buffer>

class LyingBackend extends MemoryBackend {
  lie: Lie | null = null
  beforeSync: () => Promise<void> = async () => undefined

  override async get(id: number): Promise<Buffer> {
    const value = await super.get(id)
    return this.lie === null ? value : this.lie(value, id, other => super.get(other))
  }

  held(id: number): Promise<Buffer> {
    return super.get(id)
  }

  override async sync(): Promise<void> {
    await this.beforeSync()
  }
}

function flip(value: Buffer, bit: number): Buffer {
  const flipped = Buffer.from(value)
  flipped[bit >> 3]! ^= 1 << (bit & 7)
  return flipped
}
