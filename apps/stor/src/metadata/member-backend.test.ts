import assert from 'node:assert'
import test from 'node:test'
import { MemoryRecordBackend } from '../backend/memory-backend.ts'
import { MemberBackend, SUPERBLOCK_KEY } from './member-backend.ts'

async function keysOf(member: MemberBackend): Promise<string[]> {
  const keys: string[] = []
  for await (const batch of member.list()) keys.push(...batch.map(String))
  return keys.sort()
}

test('a member lists its own keys, and nothing of the other stores in its namespace', async () => {
  const inner = new MemoryRecordBackend('m')
  const members = ['ours', 'theirs'].map(prefix => new MemberBackend(inner, prefix))
  for (const member of members) await member.set(SUPERBLOCK_KEY, Buffer.from('superblock'))
  await members[0]!.set(Buffer.from('one'), Buffer.from('1'))
  assert.deepEqual(await keysOf(members[0]!), ['one', 's'])
})

test('a member that came back empty lists nothing on which to rely', async () => {
  const member = new MemberBackend(new MemoryRecordBackend('m'), 'ours')
  await member.set(Buffer.from('one'), Buffer.from('1'))
  await assert.rejects(keysOf(member), { reason: 'unavailable' })
  assert.ok(member.blank)
  await assert.rejects(member.get(Buffer.from('one')), { reason: 'unavailable' })
})
