import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { describe, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { rotateMaster } from '../src/identity/key-rotation.ts'
import { MasterSecret } from '../src/master-secret.ts'
import { Crash, IdentityRig } from './identity-rig.ts'

const names = ['m1', 'm2', 'm3', 'm4']
const hashOf = async (opening: ReturnType<IdentityRig['open']>) =>
  (await opening).identity.superblock.keys.nameHash('/x')

/** A master secret whose process dies before or after its file is replaced. */
class DyingMaster extends MasterSecret {
  readonly #when: 'before' | 'after'

  constructor(path: string, when: 'before' | 'after') {
    super({ kind: 'file', path }, randomBytes, silentLog)
    this.#when = when
  }
  override async adoptNext() {
    if (this.#when === 'after') await super.adoptNext()
    throw new Crash()
  }
}

describe('rotate-key', () => {
  test('gives the store a new master, of mode 0600, and the old one ends', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const { identity } = await rig.open(names)
    const old = await rig.keyCopy()
    const hash = identity.superblock.keys.nameHash('/x')
    await rotateMaster(identity)
    assert.strictEqual((await stat(rig.keyFile)).mode & 0o777, 0o600)
    assert.strictEqual(existsSync(`${rig.keyFile}.next`), false)
    assert.deepStrictEqual(await hashOf(rig.open(names)), hash)
    await assert.rejects(rig.open(names, { source: old }), { reason: 'wrong-key' })
  })

  test('a crash after any write leaves a store that opens with the file, and the next start completes it', async () => {
    const outcomes = new Set<string>()
    for (let writes = 0; writes <= 8; writes++) {
      await using stack = new AsyncDisposableStack()
      const rig = await IdentityRig.make(stack)
      const { identity } = await rig.open(names)
      const before = await readFile(rig.keyFile, 'utf8')
      const old = await rig.keyCopy()
      const hash = identity.superblock.keys.nameHash('/x')
      rig.disks.writesLeft = writes
      const crashed = await rotateMaster(identity).then(
        () => false,
        error => error instanceof Crash || Promise.reject(error),
      )
      assert.strictEqual(crashed, writes < 8)
      rig.disks.writesLeft = Number.POSITIVE_INFINITY
      // Which secret is at hand, the old copy or what the file says now, may matter only once the last step began.
      const withOld = await hashOf(rig.open(names, { source: old, complete: false })).catch(error => error.reason)
      if (writes < 7) assert.deepStrictEqual(withOld, hash)
      assert.deepStrictEqual(await hashOf(rig.open(names)), hash, `after ${writes} writes`)
      assert.notStrictEqual(await readFile(rig.keyFile, 'utf8'), before)
      assert.strictEqual(existsSync(`${rig.keyFile}.next`), false)
      await assert.rejects(rig.open(names, { source: old }), { reason: 'wrong-key' })
      outcomes.add(typeof withOld === 'string' ? withOld : 'opened')
    }
    assert.deepStrictEqual([...outcomes].sort(), ['opened', 'wrong-key'])
  })

  for (const when of ['before', 'after'] as const) {
    test(`a crash ${when} the file is replaced: the old key opens, the new one too, the start completes it`, async () => {
      await using stack = new AsyncDisposableStack()
      const rig = await IdentityRig.make(stack)
      await rig.open(names)
      const { identity } = await rig.open(names, { master: new DyingMaster(rig.keyFile, when) })
      const old = await rig.keyCopy()
      const hash = identity.superblock.keys.nameHash('/x')
      await assert.rejects(rotateMaster(identity), Crash)
      assert.deepStrictEqual(await hashOf(rig.open(names, { source: old, complete: false })), hash)
      assert.deepStrictEqual(await hashOf(rig.open(names)), hash)
      await assert.rejects(rig.open(names, { source: old }), { reason: 'wrong-key' })
    })
  }

  test('where only the old secret is left in the middle of it, the old one stays', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    await rig.open(names)
    const old = await rig.keyCopy()
    const { identity } = await rig.open(names, { master: new DyingMaster(rig.keyFile, 'after') })
    await assert.rejects(rotateMaster(identity), Crash)
    const hash = identity.superblock.keys.nameHash('/x')
    const lost = await rig.keyCopy()
    assert.deepStrictEqual(await hashOf(rig.open(names, { source: old })), hash)
    assert.deepStrictEqual(await hashOf(rig.open(names, { source: old })), hash)
    await assert.rejects(rig.open(names, { source: lost }), { reason: 'wrong-key' })
  })

  test('a backend that was away holds the old superblock, which opens nothing any more', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    await rig.open(names)
    const old = await rig.keyCopy()
    rig.disks.gone.add('m2')
    await rotateMaster((await rig.open(names)).identity)
    rig.disks.gone.clear()
    await assert.rejects(rig.open(names, { source: old }), { reason: 'wrong-key', message: /was changed/ })
    const { identity, members } = await rig.open(names)
    assert.strictEqual(await identity.catchUp(members[1]!), true)
    rig.disks.gone.add('m1').add('m4')
    await assert.rejects(rig.open(names, { source: old }), { reason: 'wrong-key' })
  })

  test('below the quorum nothing changes', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const { identity } = await rig.open(names)
    const before = await readFile(rig.keyFile, 'utf8')
    rig.disks.gone.add('m1').add('m2')
    await assert.rejects(rotateMaster(identity), { reason: 'unavailable' })
    assert.strictEqual(await readFile(rig.keyFile, 'utf8'), before)
  })

  test('a key that is not in a file is not ours to replace', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const { identity } = await rig.open(names, { source: { kind: 'inline', key: randomBytes(32) } })
    await assert.rejects(rotateMaster(identity), { reason: 'refused' })
  })
})

describe('a passphrase', () => {
  test('makes a store, opens it, and a wrong one says so', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const source = { kind: 'passphrase-file', path: rig.keyFile } as const
    await assert.rejects(rig.open(names, { source }), { reason: 'file', message: /write the passphrase/ })
    await writeFile(rig.keyFile, 'correct horse battery\n', { mode: 0o600 })
    const hash = await hashOf(rig.open(names, { source }))
    await writeFile(rig.keyFile, '  correct horse battery')
    assert.deepStrictEqual(await hashOf(rig.open(names, { source })), hash)
    await writeFile(rig.keyFile, 'incorrect horse battery')
    await assert.rejects(rig.open(names, { source }), { reason: 'wrong-key', message: /the passphrase is not the one/ })
    await assert.rejects(rig.open(names), { reason: 'wrong-key', message: /master_passphrase_file/ })
  })

  test('is replaced by the one in <file>.next, when it is asked for', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const source = { kind: 'passphrase-file', path: rig.keyFile } as const
    await writeFile(rig.keyFile, 'correct horse battery', { mode: 0o600 })
    const { identity } = await rig.open(names, { source })
    const hash = identity.superblock.keys.nameHash('/x')
    await assert.rejects(rotateMaster(identity), { reason: 'refused', message: /\.next/ })
    await writeFile(`${rig.keyFile}.next`, 'another horse battery', { mode: 0o600 })
    assert.deepStrictEqual(await hashOf(rig.open(names, { source })), hash)
    assert.ok(existsSync(`${rig.keyFile}.next`), 'a start alone does not take it')
    await rotateMaster(identity)
    assert.strictEqual(await readFile(rig.keyFile, 'utf8'), 'another horse battery')
    assert.deepStrictEqual(await hashOf(rig.open(names, { source })), hash)
  })
})

describe('who opens a store', () => {
  test('a new one is not made where data backends hold shards', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    rig.dataHoldsShards = true
    await assert.rejects(rig.open(names), { reason: 'refused', message: /stor recover/ })
    assert.strictEqual(existsSync(rig.keyFile), false)
  })

  test('k of the records does not change', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    await rig.open(names)
    await assert.rejects(rig.open(names, { dataShards: 1 }), { reason: 'refused', message: /minimal_shards is 2/ })
  })

  test('the key may come from the environment', async () => {
    await using stack = new AsyncDisposableStack()
    const rig = await IdentityRig.make(stack)
    const hash = await hashOf(rig.open(names))
    process.env.QSFS_TEST_MASTER = await readFile(rig.keyFile, 'utf8')
    stack.defer(() => void delete process.env.QSFS_TEST_MASTER)
    assert.deepStrictEqual(
      await hashOf(rig.open(names, { source: { kind: 'environment', variable: 'QSFS_TEST_MASTER' } })),
      hash,
    )
    const nowhere = { kind: 'environment', variable: 'QSFS_TEST_NOT_SET' } as const
    await assert.rejects(rig.open(names, { source: nowhere }), { reason: 'wrong-key', message: /QSFS_TEST_NOT_SET/ })
  })
})
