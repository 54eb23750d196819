import assert from 'node:assert'
import { test } from 'node:test'
import { objectNameOf } from './object-name.ts'

test('a name is the cleaned path, the root stripped', () => {
  assert.strictEqual(objectNameOf('/data//a/../d7', null), '/data/d7')
  assert.strictEqual(objectNameOf('/mnt/q/data/d7', '/mnt/q'), '/data/d7')
  assert.strictEqual(objectNameOf('/mnt/q/data/d7', '/mnt/q/'), '/data/d7')
  assert.strictEqual(objectNameOf('/data/d7', '/'), '/data/d7')
  for (const path of ['/mnt/quite/else', '/mnt/q', '/mnt/q/../secret', 'd7']) {
    assert.throws(() => objectNameOf(path, '/mnt/q'), { reason: 'refused' })
  }
})
