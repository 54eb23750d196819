import assert from 'node:assert'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { seededPrng } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { createMasterFile, formatMaster, parseMaster, readMasterFile } from './master-file.ts'
import { Secret } from './secret.ts'

test('golden: the text of a master secret', () => {
  const master = new Secret(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))
  const expected = 'qsfs-master-1 00010203-04050607-08090a0b-0c0d0e0f-10111213-14151617-18191a1b-1c1d1e1f 95eac3e5'
  assert.equal(formatMaster(master), expected)
  assert.deepEqual(parseMaster(`# a comment\n${expected.toUpperCase()}\n`).expose(), master.expose())
})

test('every typo is noticed, and another file is told apart', t => {
  const random = seededPrng(t)
  const text = formatMaster(Secret.random(random.bytes))
  for (let at = 'qsfs-master-1 '.length; at < text.length; at++) {
    if (text[at] === '-' || text[at] === ' ') continue
    const wrong = text[at] === '7' ? '8' : '7'
    assert.throws(() => parseMaster(text.slice(0, at) + wrong + text.slice(at + 1)), { reason: 'mistyped' })
    assert.throws(() => parseMaster(text.slice(0, at) + text.slice(at + 1)), { reason: 'mistyped' })
  }
  for (const other of [
    '',
    '-----BEGIN PRIVATE KEY-----',
    'qsfs-master-2 00 00',
    random.bytes(500).toString('latin1'),
  ]) {
    assert.throws(() => parseMaster(other), { reason: 'not-a-key' })
  }
  assert.throws(() => parseMaster('qsfs-master-1'), { reason: 'mistyped' })
})

test('a new file is whole, mode 0600, and never replaced', async t => {
  const random = seededPrng(t)
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'master.key')
  const master = await createMasterFile(path, random.bytes)
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  assert.deepEqual((await readMasterFile(path)).expose(), master.expose())
  await assert.rejects(createMasterFile(path, random.bytes), { code: 'EEXIST' })
  assert.deepEqual((await readMasterFile(path)).expose(), master.expose())
  assert.deepEqual(await readdir(directory.path), ['master.key'])
  await assert.rejects(createMasterFile(join(directory.path, 'absent', 'x'), random.bytes), { code: 'ENOENT' })
})

test('a file that others may read is refused, and errors name the file but never the secret', async t => {
  const random = seededPrng(t)
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'master.key')
  await createMasterFile(path, random.bytes)
  await chmod(path, 0o640)
  await assert.rejects(readMasterFile(path), { reason: 'exposed', message: new RegExp(`chmod 600 ${path}`) })
  await chmod(path, 0o600)
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.slice(0, -5))
  await assert.rejects(readMasterFile(path), (error: Error) => {
    assert.ok(error.message.includes(path))
    assert.ok(!text.split('-').some(group => /^[0-9a-f]{8}$/.test(group) && error.message.includes(group)))
    return true
  })
  await assert.rejects(readMasterFile(join(directory.path, 'absent')), { code: 'ENOENT' })
})
