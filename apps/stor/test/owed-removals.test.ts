import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import test, { after } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { Deletions } from '../src/deletions.ts'
import { StorError } from '../src/errors.ts'
import { objectKey } from '../src/metadata/name-record.ts'
import { FramePool } from '../src/pipeline/frame-pool.ts'
import { RepairRig } from './repair-rig.ts'

const pool = new FramePool()
after(() => pool[Symbol.asyncDispose]())

test('a record that cannot be read holds up no removal that others owe', async () => {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(await temporaryDirectory())
  const rig = new RepairRig(pool)
  await writeFile(`${path}/f`, randomBytes(100_000))
  const ids = [await rig.store(`${path}/f`), await rig.store(`${path}/f`), await rig.store(`${path}/f`)]
  const tools = { keys: rig.pipeline.keys, fleet: rig.fleet(), log: silentLog }
  const before = new Deletions({ meta: rig.meta(), ...tools })
  rig.down.add('b0')
  for (const id of ids) assert.deepStrictEqual((await before.delete(id)).owedBackends, ['b0'])
  const held = async () => (await rig.data[0]!.stat()).valueCount
  assert.strictEqual(await held(), 6)

  let damaged: Buffer | null = null
  const meta = rig.meta()
  const asked = (name: 'get' | 'getAny') => async (key: Buffer) => {
    if (damaged?.equals(key)) throw new StorError('damaged', 'unreadable')
    return await meta[name](key)
  }
  const spoiled = new Proxy(meta, {
    get(target, name) {
      if (name === 'get' || name === 'getAny') return asked(name)
      if (name === 'list') return async () => ids.map(objectKey)
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const later = new Deletions({ meta: spoiled, ...tools })
  // The one that comes first in the list.
  const first = objectKey(ids[0]!)
  damaged = first
  await assert.rejects(later.findOwed(), { message: 'unreadable' })
  rig.down.clear()
  await later.settleOwed()
  assert.strictEqual(await held(), 2)

  damaged = null
  rig.down.add('b0')
  await later.findOwed()
  damaged = first
  rig.down.clear()
  await assert.rejects(later.settleOwed(), { message: 'unreadable' })
  damaged = null
  await later.settleOwed()
  assert.strictEqual(await held(), 0)
})
