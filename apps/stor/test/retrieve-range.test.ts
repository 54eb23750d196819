import assert from 'node:assert'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { retrieveRange } from '../src/pipeline/retrieve.ts'
import { cli, json, startDaemon } from './cli-fixture.ts'
import { PipelineRig } from './pipeline-rig.ts'
import { directoryStore } from './store-fixture.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

const FRAME = 64 * 1024

describe('retrieve of a range', () => {
  test('at frame borders, past the end, of nothing: these bytes, of these frames', async t => {
    const random = seededPrng(t)
    await using tmp = await temporaryDirectory()
    const backends = Array.from({ length: 6 }, (_, i) => new HurtBackend(`b${i}`))
    const rig = new PipelineRig(pool, backends)
    const content = random.bytes(4 * FRAME + 1000)
    const [path, out] = [join(tmp.path, 'in'), join(tmp.path, 'out')]
    await writeFile(path, content)
    const record = await rig.store(path)
    const rows = [
      [0, 1, 1],
      [FRAME - 1, 1, 1],
      [FRAME, 1, 1],
      [FRAME - 1, 2, 2],
      [FRAME, FRAME, 1],
      [FRAME - 2048, 4096, 2],
      [3 * FRAME + 5, 4096, 1],
      [0, content.length, 5],
      [4 * FRAME, 4096, 1],
      [content.length - 1, 4096, 1],
      [content.length, 4096, 0],
      [content.length + 12345, 4096, 0],
      [77, 0, 0],
    ] as const
    const check = async (mark: string) => {
      for (const [offsetBytes, lengthBytes, frameCount] of rows) {
        rig.faults.length = 0
        for (const backend of backends) backend.getCount = 0
        const range = { of: 'file' as const, offsetBytes, lengthBytes }
        const written = await retrieveRange(record, { path: out, range }, rig.readContext)
        const expected = content.subarray(offsetBytes, offsetBytes + lengthBytes)
        assert.ok((await readFile(out)).equals(expected), `${mark}: ${offsetBytes}:${lengthBytes}`)
        assert.strictEqual(written, expected.length)
        const getCount = backends.reduce((sum, backend) => sum + backend.getCount, 0)
        assert.ok(getCount <= 4 * frameCount + rig.faults.length, `${mark}: ${getCount} reads of ${frameCount} frames`)
      }
    }
    await check('whole')
    backends[0]!.hurt = 'missing'
    backends[2]!.hurt = 'corrupt'
    await check('a shard lost, one bad')
    assert.deepStrictEqual(await readdir(tmp.path), ['in', 'out'])
    backends[5]!.hurt = 'corrupt'
    await rm(out)
    const range = { of: 'file' as const, offsetBytes: 5, lengthBytes: 5 }
    await assert.rejects(retrieveRange(record, { path: out, range }, rig.readContext), { reason: 'too-few-shards' })
    assert.deepStrictEqual(await readdir(tmp.path), ['in'])
  })

  test('by the command: into a file, to the output, here and by a daemon', async t => {
    await using stack = new AsyncDisposableStack()
    const { path, config } = await directoryStore(stack, { frame_bytes: FRAME })
    const content = Buffer.from(
      seededPrng(t)
        .bytes(200_000)
        .toString('latin1')
        .replaceAll(/[^ -~]/g, '.'),
      'latin1',
    )
    const name = `${path}/in`
    await writeFile(name, content)
    assert.strictEqual((await cli('store', '-c', config, '-f', name)).code, 0)
    const ask = ['retrieve', '-c', config, '--name', name]
    const output = await cli(...ask, '-f', '-', '--range', '65530:12')
    assert.deepStrictEqual(output, { code: 0, stdout: content.subarray(65530, 65542).toString(), stderr: '' })

    await startDaemon(stack, config)
    const { sizeBytes, rangeBytes } = await json(...ask, '-f', `${path}/out`, '--range', '199000:4096')
    assert.deepStrictEqual([sizeBytes, rangeBytes], [200_000, 1000])
    assert.ok((await readFile(`${path}/out`)).equals(content.subarray(199_000)))
    assert.strictEqual((await cli(...ask, '-f', '-')).stdout, content.toString())

    for (const [words, text] of [
      [[...ask, '-f', `${path}/out`, '--range', '12'], /not OFFSET:LENGTH/],
      [[...ask, '-f', `${path}/out`, '--range', '0:1', '--attachment-to', `${path}/hint`], /the file alone/],
      [['retrieve', '-c', config, '-f', '-'], /--name NAME or --object ID/],
      [[...ask, '-f', '-', '--json'], /--json/],
    ] as const) {
      const { code, stderr } = await cli(...words)
      assert.strictEqual(code, 2)
      assert.match(stderr, text)
    }
  })
})

class HurtBackend extends MemoryBackend {
  hurt: 'missing' | 'corrupt' | null = null
  getCount = 0

  override async get(id: number): Promise<Buffer> {
    this.getCount++
    const value = await super.get(this.hurt === 'missing' ? 1e6 : id)
    if (this.hurt === 'corrupt') value[value.length - 1]! ^= 1
    return value
  }
}
