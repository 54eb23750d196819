import assert from 'node:assert'
import test from 'node:test'
import { inspect } from 'node:util'
import { argon2id } from '@noble/hashes/argon2.js'
import { masterFromPassphrase, newPassphraseCost } from './passphrase.ts'

const cost = { memoryKiB: 64, passes: 2, lanes: 2, salt: Buffer.alloc(16, 7) }

test('argon2id, as another implementation has it', async () => {
  const expected = argon2id('correct horse battery', cost.salt, { m: 64, t: 2, p: 2, dkLen: 32 })
  const master = await masterFromPassphrase('  correct horse battery\n', cost)
  assert.deepEqual(master.expose(), Buffer.from(expected))
  assert.equal(inspect(master), 'Secret(***)')
})

test('characters count, not how they are composed', async () => {
  const composed = await masterFromPassphrase('caf\u00e9 au lait, deux', cost)
  const decomposed = await masterFromPassphrase('cafe\u0301 au lait, deux', cost)
  assert.deepEqual(composed.expose(), decomposed.expose())
})

test('a cost that could exhaust the machine is refused before it is paid', async () => {
  const dear = [
    { memoryKiB: 2 ** 32 - 1 },
    { passes: 2 ** 32 - 1 },
    { lanes: 2 ** 24 },
    { memoryKiB: 1 },
    { passes: 0 },
  ]
  for (const change of dear) {
    await assert.rejects(masterFromPassphrase('correct horse battery', { ...cost, ...change }), { reason: 'damaged' })
  }
})

test('a short passphrase is refused', async () => {
  await assert.rejects(masterFromPassphrase('short  ', cost), { reason: 'not-a-key' })
})

test('every store has a salt of its own', () => {
  let next = 0
  const random = (lengthBytes: number) => Buffer.alloc(lengthBytes, next++)
  assert.notDeepEqual(newPassphraseCost(random).salt, newPassphraseCost(random).salt)
})
