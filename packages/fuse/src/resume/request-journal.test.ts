import assert from 'node:assert/strict'
import fs, { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { EntryOutHead, InHeader, OutHeader } from '../abi.ts'
import { opcodes } from '../opcodes.ts'
import { decodeRecords, encodeRecord } from './journal-format.ts'
import { RequestJournal } from './request-journal.ts'

async function twoFiles(t: TestContext) {
  const directory = await temporaryDirectory()
  const paths = [join(directory.path, '0'), join(directory.path, '1')] as const
  const fds = [openSync(paths[0], 'w+'), openSync(paths[1], 'w+')] as const
  t.after(async () => {
    for (const fd of fds) closeSync(fd)
    await directory[Symbol.asyncDispose]()
  })
  return { paths, fds }
}

function mkdirRequest(unique: bigint): Buffer {
  const { opcode } = opcodes.MKDIR
  const rest = { opcode, nodeId: 1, uid: 0, gid: 0, pid: 1, extensionWords: 0, padding: 0 }
  return InHeader.toBuffer({ lenBytes: InHeader.sizeBytes, unique, ...rest })
}

function entryReply(unique: bigint, nodeId: number): Buffer {
  const lifetimes = { entryTtlSeconds: 0, attrTtlSeconds: 0, entryTtlNanos: 0, attrTtlNanos: 0 }
  const entry = EntryOutHead.toBuffer({ nodeId, generation: 0, ...lifetimes })
  return Buffer.concat([OutHeader.toBuffer({ lenBytes: 0, error: 0, unique }), entry, Buffer.alloc(88)])
}

/** A mount's first journal. */
async function begun(t: TestContext) {
  const files = await twoFiles(t)
  const journal = new RequestJournal(files.fds, silentLog)
  journal.begin()
  return { ...files, journal }
}

/** Notes a mkdir that made `nodeId`. */
function note(journal: RequestJournal, nodeId: number): void {
  journal.noteAnswered(mkdirRequest(BigInt(nodeId)), entryReply(BigInt(nodeId), nodeId), 1000)
}

function uniquesOf(journal: RequestJournal, seq: number): number[] {
  const { entries } = journal.unfinished(seq)
  return entries.map(({ entry }) => (entry.kind === 'answered' ? Number(entry.request.readBigUInt64LE(8)) : -1))
}

test('what no transaction of the store holds is to happen again, and nothing else', async t => {
  const { fds } = await twoFiles(t)
  const journal = new RequestJournal(fds, silentLog)
  assert.equal(journal.isNew, true)
  journal.begin()
  for (const nodeId of [2, 3]) note(journal, nodeId)
  journal.seal(10, [], [])
  note(journal, 4)
  const afterKill = () => new RequestJournal(fds, silentLog)
  assert.equal(afterKill().isNew, false)
  assert.deepEqual(uniquesOf(afterKill(), 9), [2, 3, 4])
  assert.deepEqual(uniquesOf(afterKill(), 10), [4])
  journal.seal(11, [], [])
  note(journal, 5)
  assert.deepEqual(uniquesOf(afterKill(), 10), [4, 5])
  assert.deepEqual(uniquesOf(afterKill(), 11), [5])
})

test('a request that was answered on the way to the grave gets the same answer', async t => {
  const { fds, journal } = await begun(t)
  note(journal, 7)
  const next = new RequestJournal(fds, silentLog)
  const resent = 7n | (1n << 63n)
  assert.deepEqual(next.replyTo(resent)?.subarray(16), entryReply(7n, 7).subarray(16))
  assert.equal(next.replyTo(resent)?.readBigUInt64LE(8), resent)
  assert.equal(next.replyTo(8n | (1n << 63n)), null)
})

test('files with bytes that are nowhere lost them, and that is remembered over another death', async t => {
  const { fds, journal } = await begun(t)
  journal.noteUnstored(20)
  journal.noteUnstored(21)
  journal.seal(1, [21], [])
  journal.noteUnstored(22)
  const second = new RequestJournal(fds, silentLog)
  assert.deepEqual(second.unfinished(1).lostNodeIds.toSorted(), [21, 22])
  second.seal(2, [], [21, 22])
  const third = new RequestJournal(fds, silentLog)
  assert.deepEqual(third.unfinished(2).lostNodeIds.toSorted(), [21, 22])
})

test('killed while it repeats, the next one goes on there', async t => {
  const { fds, journal } = await begun(t)
  for (const nodeId of [2, 3]) note(journal, nodeId)
  journal.seal(1, [], [])
  for (const nodeId of [4, 5]) note(journal, nodeId)
  const second = new RequestJournal(fds, silentLog)
  const { entries } = second.unfinished(0)
  for (const { done } of entries.slice(0, 3)) done()
  second.seal(1, [], [])
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 0), [2, 3, 4, 5])
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 1), [5])
  entries[3]!.done()
  second.repeated()
  note(second, 6)
  second.seal(2, [], [])
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 2), [])
})

test('creates are repeated in the order of their numbers', async t => {
  const { fds, journal } = await begun(t)
  for (const nodeId of [2, 5, 3, 4, 6]) note(journal, nodeId)
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 0), [2, 3, 4, 5, 6])
})

test('half a record at the end is none', async t => {
  const { fds, paths, journal } = await begun(t)
  note(journal, 2)
  const wholeBytes = readFileSync(paths[0]).length + readFileSync(paths[1]).length
  note(journal, 3)
  const path = paths.find(one => readFileSync(one).length > 0)!
  const bytes = readFileSync(path)
  for (let sizeBytes = bytes.length - 1; sizeBytes >= wholeBytes; sizeBytes -= 7) {
    writeFileSync(path, bytes.subarray(0, sizeBytes))
    assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 0), [2])
  }
})

test('what cannot be kept takes everything after it along, until a transaction makes a new beginning', async t => {
  const { fds, paths } = await twoFiles(t)
  const unwritable = openSync(paths[0], 'r')
  t.after(() => closeSync(unwritable))
  const journal = new RequestJournal([unwritable, fds[1]], silentLog)
  journal.begin()
  note(journal, 2)
  journal.seal(1, [], [])
  note(journal, 3)
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 0), [2])
  journal.seal(2, [], [])
  note(journal, 4)
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 2), [4])
})

test('bytes that came after the repetition and are nowhere are told, too', async t => {
  const { fds, journal: first } = await begun(t)
  note(first, 2)
  const second = new RequestJournal(fds, silentLog)
  for (const { done } of second.unfinished(0).entries) done()
  second.noteUnstored(20)
  second.seal(1, [20], [])
  second.repeated()
  second.noteUnstored(30)
  const third = new RequestJournal(fds, silentLog)
  assert.deepEqual(third.unfinished(1).lostNodeIds.toSorted(), [20, 30])
})

test('killed while it repeats out of order, nothing is left out', async t => {
  const { fds, journal: first } = await begun(t)
  for (const nodeId of [2, 5, 3, 4]) note(first, nodeId)
  const second = new RequestJournal(fds, silentLog)
  const { entries } = second.unfinished(0)
  for (const { done } of entries.slice(0, 2)) done()
  second.seal(1, [], [])
  assert.ok(uniquesOf(new RequestJournal(fds, silentLog), 1).includes(5))
})

test('half a record leaves nothing behind the shorter one that takes its place', async t => {
  const { fds, journal: first } = await begun(t)
  const wholeBytes = Math.max(...fds.map(fd => fstatSync(fd).size))
  first.noteAnswered(mkdirRequest(2n), Buffer.alloc(300, 9), 1000)
  ftruncateSync(fstatSync(fds[0]).size > 0 ? fds[0] : fds[1], wholeBytes + 290)
  const second = new RequestJournal(fds, silentLog)
  assert.deepEqual(second.unfinished(0).entries, [])
  second.repeated()
  second.noteUnstored(7)
  assert.deepEqual(new RequestJournal(fds, silentLog).unfinished(0).lostNodeIds, [7])
})

test('a full journal still says what a transaction took along', async t => {
  const { fds, journal } = await begun(t)
  const long = Buffer.alloc(1024 * 1024)
  for (let i = 0; i < 63; i++) journal.noteAnswered(mkdirRequest(BigInt(i)), long, 1000)
  journal.noteAnswered(mkdirRequest(63n), long.subarray(0, long.length - 63 * (24 + 40) - 24 - 24 - 40), 1000)
  assert.equal(Math.max(...fds.map(fd => fstatSync(fd).size)), 64 * 1024 * 1024)
  note(journal, 100)
  journal.noteUnstored(8)
  journal.seal(1, [8], [])
  assert.deepEqual(uniquesOf(new RequestJournal(fds, silentLog), 1), [])
  assert.equal(uniquesOf(new RequestJournal(fds, silentLog), 0).length, 64)
})

test('what is no journal of this version is told, at whatever place', async t => {
  const { fds, paths, journal } = await begun(t)
  note(journal, 2)
  const path = paths.find(one => readFileSync(one).length > 0)!
  const whole = readFileSync(path)
  const secondAt = whole.readUInt32LE(0)
  for (const at of [4, 5, 8, 12, secondAt + 4, secondAt + 7]) {
    const hurt = Buffer.from(whole)
    hurt[at] = 99
    writeFileSync(path, hurt)
    assert.throws(() => new RequestJournal(fds, silentLog), RangeError)
  }
})

test('a full disk takes what is to be kept, not the knowledge that the mount was served before', async t => {
  const { fds, journal } = await begun(t)
  const { writeSync } = fs
  const onlyWhereBytesAre = (fd: number, bytes: Buffer, from: number, length: number, at: number) => {
    if (at + length > fstatSync(fd).size) throw new Error('ENOSPC')
    return writeSync(fd, bytes, from, length, at)
  }
  t.mock.method(fs, 'writeSync', onlyWhereBytesAre)
  syncBuiltinESMExports()
  try {
    for (let seq = 1; seq < 5; seq++) {
      note(journal, seq)
      journal.seal(seq, [], [])
    }
  } finally {
    t.mock.restoreAll()
    syncBuiltinESMExports()
  }
  assert.equal(new RequestJournal(fds, silentLog).isNew, false)
})

test('replies are kept until all that was unanswered has been asked for again', async t => {
  const { fds, journal } = await begun(t)
  note(journal, 7)
  const next = new RequestJournal(fds, silentLog)
  const resent = 7n | (1n << 63n)
  assert.notEqual(next.replyTo(resent), null)
  next.forgetReplies()
  assert.equal(next.replyTo(resent), null)
})

test('version 1, byte for byte', () => {
  const golden: [Parameters<typeof encodeRecord>[0], string][] = [
    [{ kind: 'opened', generation: 3 }, '1800000001000000514a4e4c010000000300000000000000'],
    [
      { kind: 'answered', atMicros: 5, request: Buffer.from('ab'), reply: Buffer.from('c') },
      '1b0000000200000005000000000000000200000000000000616263',
    ],
    [{ kind: 'forgotten', nodeIds: [7] }, '10000000030000000700000000000000'],
    [{ kind: 'sealed', seq: 8, entryCount: 2 }, '180000000400000008000000000000000200000000000000'],
    [{ kind: 'unstored', nodeIds: [9, 10] }, '180000000500000009000000000000000a00000000000000'],
    [{ kind: 'lost', nodeIds: [11] }, '10000000060000000b00000000000000'],
  ]
  for (const [record, hex] of golden) {
    assert.equal(encodeRecord(record).toString('hex'), hex)
    assert.deepEqual(decodeRecords(Buffer.from(hex, 'hex')), [record])
  }
})
