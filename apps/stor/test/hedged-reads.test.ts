import assert from 'node:assert'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import type { ObjectRecord } from '../src/metadata/object-record.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { retrieveObject } from '../src/pipeline/retrieve.ts'
import { PipelineRig } from './pipeline-rig.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

const FRAMES = 40
const K = 4
/** Frames at once of one retrieve. */
const LANES = 4

describe('hedged reads', () => {
  test('a backend that answers 20 ms late is left alone, and tried again when it is quick', async t => {
    await using rig = await LateRig.open(seededPrng(t))
    rig.backends[1]!.delayMs = () => 22
    await rig.retrieve()
    // Once for each frame on its way before its lateness is known.
    assert.ok(rig.backends[1]!.getCount <= 2 * LANES, `${rig.backends[1]!.getCount} reads of the late one`)
    assert.ok(rig.takeCount() <= K * FRAMES + 2 * LANES)
    rig.backends[1]!.delayMs = () => 2
    for (let i = 0; i < 6; i++) {
      await rig.clock.advance(5001)
      await rig.retrieve()
    }
    rig.takeCount()
    await rig.retrieve()
    assert.strictEqual(rig.backends[1]!.getCount, FRAMES)
  })

  test('one that hangs costs a few spares', async t => {
    await using rig = await LateRig.open(seededPrng(t))
    await rig.retrieve()
    rig.takeCount()
    rig.backends[0]!.delayMs = () => null
    await rig.retrieve()
    assert.ok(rig.backends[0]!.getCount <= 3 * LANES, `${rig.backends[0]!.getCount} reads of the hanging one`)
    assert.ok(rig.takeCount() <= K * FRAMES + 3 * LANES)
    assert.ok(rig.rig.faults.length > 0)
    assert.ok(rig.rig.faults.every(({ kind, backend }) => kind === 'slow' && backend === 'b0'))
  })

  test('two that hang from the first read on, unknown before', async t => {
    await using rig = await LateRig.open(seededPrng(t))
    for (const i of [0, 3]) rig.backends[i]!.delayMs = () => null
    await rig.retrieve()
    assert.ok(rig.takeCount() <= K * FRAMES + 6 * LANES)
  })

  test('where all are slow now and then, spares are at most one for ten reads and the first sixteen', async t => {
    const random = seededPrng(t)
    await using rig = await LateRig.open(random)
    for (const backend of rig.backends) backend.delayMs = () => (random.below(5) === 0 ? 400 : 25)
    for (let i = 0; i < 3; i++) await rig.retrieve()
    assert.ok(rig.takeCount() <= 3 * K * FRAMES * 1.12 + 16)
  })
})

/** A stored object on six backends whose answers take as long as the test says, by its clock. */
class LateRig implements AsyncDisposable {
  readonly clock = new ManualClock()
  readonly backends = Array.from({ length: 6 }, (_, i) => new LateBackend(`b${i}`, this.clock))
  readonly rig = new PipelineRig(pool, this.backends)
  readonly #tmp: AsyncDisposable & { readonly path: string }
  readonly #content: Buffer
  #record: ObjectRecord | null = null

  private constructor(tmp: AsyncDisposable & { readonly path: string }, content: Buffer) {
    this.#tmp = tmp
    this.#content = content
  }

  static async open(random: Prng): Promise<LateRig> {
    const rig = new LateRig(await temporaryDirectory(), random.bytes(FRAMES * 64 * 1024))
    const path = join(rig.#tmp.path, 'in')
    await writeFile(path, rig.#content)
    rig.#record = await rig.rig.store(path, { verifyFrames: false })
    rig.rig.clock = rig.clock
    for (const backend of rig.backends) backend.delayMs = () => 2
    rig.takeCount()
    return rig
  }

  /** The right bytes, or the test fails. */
  async retrieve(): Promise<void> {
    const path = join(this.#tmp.path, 'out')
    let isDone = false
    const retrieving = retrieveObject(this.#record!, { path }, this.rig.readContext).finally(() => {
      isDone = true
    })
    retrieving.catch(() => undefined)
    while (!isDone) await this.clock.advance(1)
    await retrieving
    assert.ok((await readFile(path)).equals(this.#content))
  }

  /** Reads since it was asked last. */
  takeCount(): number {
    const count = this.backends.reduce((sum, { getCount }) => sum + getCount, 0)
    for (const backend of this.backends) backend.getCount = 0
    return count
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#tmp[Symbol.asyncDispose]()
  }
}

class LateBackend extends MemoryBackend {
  /** null: never; 0: at once, as for a store, during which the clock stands still. */
  delayMs: () => number | null = () => 0
  getCount = 0
  readonly #clock: ManualClock

  constructor(name: string, clock: ManualClock) {
    super(name)
    this.#clock = clock
  }

  override async get(id: number): Promise<Buffer> {
    this.getCount++
    const delayMs = this.delayMs()
    const { promise, resolve } = Promise.withResolvers<void>()
    if (delayMs === 0) resolve()
    else if (delayMs !== null) this.#clock.schedule(delayMs, resolve)
    await promise
    return super.get(id)
  }
}
