import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { InHeader, OutHeader } from '../abi.ts'
import { type ErrnoName, FuseError } from '../errno.ts'
import type { Filesystem } from '../filesystem.ts'
import { opcodes } from '../opcodes.ts'
import { sessionDefaults } from '../session.ts'
import { repeat } from './repeat.ts'
import type { JournalEntry } from './request-journal.ts'

function unlinkEntry(): JournalEntry {
  const rest = { nodeId: 1, uid: 0, gid: 0, pid: 1, extensionWords: 0, padding: 0 }
  const name = Buffer.from('file\0')
  const lenBytes = InHeader.sizeBytes + name.length
  const head = InHeader.toBuffer({ lenBytes, opcode: opcodes.UNLINK.opcode, unique: 2n, ...rest })
  const reply = OutHeader.toBuffer({ lenBytes: OutHeader.sizeBytes, error: 0, unique: 2n })
  return { kind: 'answered', atMicros: 1, request: Buffer.concat([head, name]), reply }
}

/** @returns whether the entry counts as done */
async function repeatOn(filesystem: Partial<Filesystem>, entry: JournalEntry): Promise<boolean> {
  let isDone = false
  const entries = [{ entry, done: () => (isDone = true) }]
  const unfinished = { entries, lostNodeIds: [] }
  await repeat(filesystem as Filesystem, unfinished, () => undefined, sessionDefaults, silentLog)
  return isDone
}

function refusing(code: ErrnoName): Partial<Filesystem> {
  return { unlink: () => Promise.reject(new FuseError(code)) }
}

test('what happened already is passed over; what the store cannot do now is not', async () => {
  assert.equal(await repeatOn(refusing('ENOENT'), unlinkEntry()), true)
  for (const code of ['EIO', 'ENOSPC', 'EROFS'] as const) {
    await assert.rejects(repeatOn(refusing(code), unlinkEntry()), { code })
  }
})

test('a node that the kernel let go of is held by nobody, however often it was named', async () => {
  const forgotten: number[][] = []
  const filesystem = { forget: (nodeId: number, count: number) => forgotten.push([nodeId, count]) }
  await repeatOn(filesystem as Partial<Filesystem>, { kind: 'forgotten', nodeIds: [5] })
  assert.deepEqual(forgotten, [[5, Number.MAX_SAFE_INTEGER]])
})
