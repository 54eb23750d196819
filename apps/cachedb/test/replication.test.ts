import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { zdbCrc } from '@qsfs/bytes/checksum'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { EntryHeader, FileHeader } from '../src/segment/format.ts'
import { engineContext, openNamespace } from './engine-fixture.ts'
import { SocketlessServer } from './session-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

const checksum = (value: string) => `0x${zdbCrc(Buffer.from(value)).toString(16).padStart(8, '0')}`

describe('DATA RAW', () => {
  test('shows values, empty ones too, and deletions, up to EOF', async () => {
    const storage = new SimulatedStorage()
    await using server = await SocketlessServer.start({ storage })
    const client = server.client()
    const previousAt = (segmentId: number, offsetBytes: number) =>
      EntryHeader.decode(storage.bytesOf(`/data/default/d${segmentId}`), offsetBytes).check
    await client.ask('SET', 'hello', 'world', '1700000000')
    await client.ask('SET', 'k', '', '1700000001')
    await client.ask('DEL', 'hello', '1700000002')
    const entries = [
      [28, (check: number) => `[$hello :${check} $${checksum('world')} :0 :1700000000 $world]`],
      [56, (check: number) => `[$k :${check} $0x00000000 :0 :1700000001 $]`],
      [75, (check: number) => `[$hello :${check} $0x00000000 :1 :1700000002 $-1]`],
    ] as const
    for (const closed of [false, true]) {
      if (closed) await client.ask('NSJUMP')
      await turns(20)
      for (const [offsetBytes, shown] of entries)
        assert.equal(
          await client.ask('DATA', 'RAW', '0', String(offsetBytes)),
          shown(previousAt(0, offsetBytes)),
          `at ${offsetBytes}`,
        )
      for (const offset of ['98', '99', '4294967295', '-1'])
        assert.equal(await client.ask('DATA', 'RAW', '0', offset), '-EOF')
      for (const offset of ['0', 'garbage', '27', '29', '57', '74', '97'])
        assert.equal(await client.ask('DATA', 'RAW', '0', offset), '-Unexpected Internal Error', offset)
    }
    assert.equal(await client.ask('DATA', 'RAW', '1', '28'), '-EOF')
    assert.equal(await client.ask('DATA', 'RAW', '2', '28'), '-Invalid Request')
    await client.ask('SET', 'later', 'x')
    assert.match(await client.ask('DATA', 'RAW', '1', '28'), /^\[\$later :\d+ \$0x[0-9a-f]{8} :0 :\d+ \$x\]$/)
  })

  test('a segment that is gone ends at once: its copy goes on with the next', async () => {
    await using server = await SocketlessServer.start()
    const client = server.client()
    await client.ask('SET', 'a', 'old')
    await client.ask('NSJUMP')
    await client.ask('SET', 'a', 'new')
    await client.ask('FSYNC')
    await turns(40)
    assert.match(await client.ask('SEGMENTS'), /^\[\[:1 /)
    assert.equal(await client.ask('DATA', 'RAW', '0', '28'), '-EOF')
  })

  test('a place inside a value reads no more than an entry may have', async () => {
    const storage = new SimulatedStorage()
    storage.makeDirectory('/data')
    const valueBytes = 9 * 1024 * 1024
    const context = engineContext(storage, prngFromSeed(1), { segmentBytesMax: 32 * 1024 * 1024 })
    await using namespace = await openNamespace(context, 'user')
    const forged = { keyBytes: 1, valueBytes, check: 0, valueCrc: 0, flags: 0, timestampSeconds: 0 }
    namespace.put(Buffer.from('a'), EntryHeader.toBuffer(forged))
    for (const key of ['b', 'c']) namespace.put(Buffer.from(key), Buffer.alloc(8 * 1024 * 1024))
    const openRead = storage.openRead.bind(storage)
    let longestBytes = 0
    storage.openRead = path => {
      const file = openRead(path)
      const read = (offsetBytes: number, lengthBytes: number) => {
        longestBytes = Math.max(longestBytes, lengthBytes)
        return file.read(offsetBytes, lengthBytes)
      }
      return { ...file, read, [Symbol.dispose]: () => file[Symbol.dispose]() }
    }
    const offsetBytes = FileHeader.sizeBytes + EntryHeader.sizeBytes + 1
    await assert.rejects(namespace.rawEntry({ segmentId: 0, offsetBytes }), { message: 'Unexpected Internal Error' })
    assert(longestBytes < 1_000, `${longestBytes} bytes were read at once`)
  })

  test('an absent segment comes back; one that does not is an Invalid Request', async () => {
    const storage = new SimulatedStorage()
    let object: Buffer = Buffer.alloc(0)
    let isReachable = true
    const hooks: Hooks = {
      ...noHooks,
      configured: true,
      segmentClosed: async ({ dataPath }) => {
        object = storage.bytesOf(dataPath)
        return '00112233445566778899aabbccddeeff'
      },
      segmentMissing: async ({ dataPath }) => {
        if (!isReachable) throw new HookFailed('no backend answers')
        storage.put(dataPath, object)
      },
    }
    {
      await using server = await SocketlessServer.start({ storage, hooks })
      await server.client().ask('SET', 'cold', 'value')
      await server.client().ask('NSJUMP')
      await turns(40)
    }
    storage.remove('/data/default/d0')
    await using server = await SocketlessServer.start({ storage, hooks })
    const client = server.client()
    isReachable = false
    assert.equal(await client.ask('DATA', 'RAW', '0', '28'), '-Invalid Request')
    isReachable = true
    await server.clock.advance(11_000)
    assert.match(await client.ask('DATA', 'RAW', '0', '28'), /^\[\$cold .* \$value\]$/)
  })
})

test('DATA, INDEX: rights, words and counts, in 0-db’s order', async () => {
  await using server = await SocketlessServer.start({ adminPassword: 'root' })
  const client = server.client()
  for (const command of ['DATA', 'INDEX']) assert.equal(await client.ask(command), '-Permission denied')
  assert.equal(await client.ask('AUTH', 'root'), '+OK')
  const long = 'x'.repeat(257)
  for (const [reply, ...args] of [
    ['-Missing arguments', 'DATA'],
    ['-Invalid argument', 'DATA', ''],
    ['-Invalid argument', 'DATA', 'RAW', '', '28'],
    ['-Argument too long', 'DATA', long],
    ['-Unknown DATA subcommand', 'DATA', 'ROW', '0', '28'],
    ['-Unknown DATA subcommand', 'DATA', 'x'.repeat(256)],
    ['-Missing arguments', 'DATA', 'RAW', '0'],
    ['-EOF', 'DATA', 'RAW', '0', '28', 'ignored'],
    ['-EOF', 'data', 'raw', '0', '28'],
    ['-Missing arguments', 'INDEX'],
    ['-Invalid argument', 'INDEX', 'DIRTY', ''],
    ['-Argument too long', 'INDEX', long],
    ['-Unknown INDEX subcommand', 'INDEX', 'CLEAN'],
    ['-Argument too long', 'INDEX', 'DIRTY', long],
    ['-Unknown INDEX DIRTY subcommand', 'INDEX', 'DIRTY', 'SET'],
    ['[]', 'INDEX', 'DIRTY'],
    ['[]', 'INDEX', 'DIRTY', 'RESET', 'more'],
    ['+OK', 'INDEX', 'DIRTY', 'RESET'],
  ] as const)
    assert.equal(await client.ask(...args), reply, args.join(' '))
})

for (const mode of ['user', 'seq'] as const) {
  test(`INDEX DIRTY lists segments that lost a live value: ${mode}`, async () => {
    await using server = await SocketlessServer.start()
    const client = server.client()
    await client.ask('NSSET', 'default', 'mode', mode)
    const set = async (name: string) =>
      Buffer.from((await client.ask('SET', mode === 'user' ? name : '', name)).slice(1), 'latin1')
    const [a, , c] = [await set('a'), await set('b'), await set('c')]
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[]', 'appends do not mark')
    await client.ask('NSJUMP')
    const d = await set('d')
    await client.ask('SET', a, 'newer')
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[:0]')
    await client.ask('DEL', d)
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[:0 :1]')
    assert.equal(await client.ask('INDEX', 'DIRTY', 'RESET'), '+OK')
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[]')
    await client.ask('DEL', c)
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[:0]')
    await client.ask('SELECT', 'default')
    await client.ask('NSNEW', 'other')
    await client.ask('SELECT', 'other')
    assert.equal(await client.ask('INDEX', 'DIRTY'), '[]', 'of another namespace')
  })
}
