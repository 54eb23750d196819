import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { test } from 'node:test'
import type { RespClient } from '@qsfs/resp/client'
import { CachedbProcess } from './cachedb-process.ts'

// The facts of 0-db's own test program (specification, section 9.2) and of its command reference, each as it is on the wire.

const id = (number: number) => {
  const key = Buffer.alloc(8)
  key.writeUInt32LE(number)
  return key
}
const shown = (number: number) => `$${id(number).toString('latin1')}`
const long = 'x'.repeat(511)

test('one cachedb, user keys', async t => {
  const cachedb = await CachedbProcess.start(t)
  const client = await cachedb.raw()
  const ask = client.ask.bind(client)

  await t.test('base', async () => {
    equal(await ask('PING'), '+PONG')
    equal(await ask('ping', 'ignored'), '+PONG')
    equal(await ask('DBSIZE'), ':0')
    match(await ask('NSINFO', 'default'), /mode: userkey/)
    match(await ask('TIME'), /^\[\$\d{10} \$\d{1,6}\]$/)
    equal(await ask('BIPBIPBIP'), '-Command not supported')
    equal(await ask('G', 'hello'), '-Command not supported')
    equal(await ask('ECHO', 'x'), '$x')
    equal(await ask('HELLO', '3'), '-NOPROTO only RESP2 is spoken here')
    for (const command of ['COMMAND', 'CLIENT', 'QUIT']) {
      equal(await ask(command, 'x'), '-Command not supported')
    }
  })

  await t.test('SET, GET, DEL', async () => {
    equal(await ask('SET', 'hello', 'world'), '$hello')
    equal(await ask('GET', 'hello'), '$world')
    equal(await ask('DEL', 'hello'), '+OK')
    equal(await ask('GET', 'hello'), '$-1')
    equal(await ask('DEL', 'hello'), '-Key not found')
    equal(await ask('SET', 'hello', 'world-new'), '$hello')
    equal(await ask('GET', 'hello'), '$world-new')
    equal(await ask('SET', '', 'world'), '-Invalid argument, key needed')
    for (const value of ['same-size', 'short', 'much longer than before', '']) {
      equal(await ask('SET', 'hello', value), '$hello')
      equal(await ask('GET', 'hello'), `$${value}`)
    }
    equal(await ask('SET', 'hello', ''), '$-1')
    equal(await ask('SET', 'hello', 'again'), '$hello')
    equal(await ask('SET', 'hello', 'again'), '$-1')
    equal(await ask('SET', long, 'x'), '-Key too large')
    equal(await ask('SET', 'k'.repeat(255), 'x'), `$${'k'.repeat(255)}`)
    equal(await ask('GET', 'k'.repeat(255)), '$x')
    equal(await ask('SET', 'one'), '-Unexpected arguments')
    equal(await ask('SET', 'a', 'b', '1', 'c'), '-Unexpected arguments')
  })

  await t.test('every byte value is a byte of a key and of a value', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    equal(await ask('SET', all.subarray(0, 255), all), `$${all.subarray(0, 255).toString('latin1')}`)
    equal(await ask('GET', all.subarray(0, 255)), `$${all.toString('latin1')}`)
  })

  await t.test('timestamps', async () => {
    for (const [given, kept] of [
      ['1700000000', '1700000000'],
      ['-1', '4294967295'],
      ['garbage', '0'],
      ['12abc', '12'],
    ] as const) {
      equal(await ask('SET', 'timed', `value ${given}`, given), '$timed')
      equal(await ask('KEYTIME', 'timed'), `:${kept}`)
    }
    equal(await ask('DEL', 'timed', 'world'), '-Invalid argument')
    equal(await ask('DEL', 'timed', '1700000001'), '+OK')
  })

  await t.test('EXISTS, CHECK, LENGTH, KEYTIME', async () => {
    equal(await ask('SET', 'there', 'value'), '$there')
    equal(await ask('EXISTS', 'there'), ':1')
    equal(await ask('EXISTS', 'nowhere'), ':0')
    equal(await ask('CHECK', 'there'), ':1')
    equal(await ask('CHECK', 'nowhere'), '$-1')
    equal(await ask('LENGTH', 'there'), ':5')
    equal(await ask('LENGTH', 'nowhere'), '$-1')
    equal(await ask('KEYTIME', 'nowhere'), '$-1')
    ok(Math.abs(Number((await ask('KEYTIME', 'there')).slice(1)) - Date.now() / 1000) < 60)
  })

  await t.test('wrong arguments', async () => {
    for (const command of ['GET', 'EXISTS', 'CHECK', 'LENGTH', 'KEYTIME', 'DEL']) {
      equal(await ask(command), '-Unexpected arguments')
      equal(await ask(command, ''), '-Invalid argument')
      equal(await ask(command, long), '-Invalid key')
    }
    equal(await ask('GET', 'a', 'b'), '-Unexpected arguments')
    equal(await ask('NSINFO'), '-Unexpected arguments')
    equal(await ask('NSINFO', long), '-Namespace too long')
    equal(await ask('NSINFO', ''), '-Invalid argument')
  })

  await t.test('MGET', async () => {
    await ask('SET', 'm1', 'one')
    await ask('SET', 'm2', 'two')
    equal(await ask('MGET', 'm1', 'nowhere', '', 'm2'), '[$one $-1 $-1 $two]')
    equal(await ask('MGET'), '-Invalid arguments')
    equal(await ask('MGET', 'm1', long), '-Invalid key')
    equal(await ask('MGET', ...Array.from({ length: 1023 }, () => 'm1')), `[${Array(1023).fill('$one').join(' ')}]`)
  })

  await t.test('GETRANGE', async () => {
    await ask('SET', 'range', '0123456789')
    equal(await ask('GETRANGE', 'range', '2', '3'), '$234')
    equal(await ask('GETRANGE', 'range', '8', '100'), '$89')
    equal(await ask('GETRANGE', 'range', '10', '1'), '$')
    equal(await ask('GETRANGE', 'range', '999999', '1'), '$')
    equal(await ask('GETRANGE', 'nowhere', '0', '1'), '$-1')
    equal(await ask('GETRANGE', 'range', '-1', '1'), '-Invalid argument')
    equal(await ask('GETRANGE', 'range', '0'), '-Unexpected arguments')
  })

  await t.test('payloads up to 8 MiB, inclusive', async () => {
    for (const bytes of [512, 1024, 4096, 64 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20]) {
      const value = 'B'.repeat(bytes)
      equal(await ask('SET', `payload-${bytes}`, value), `$payload-${bytes}`)
      ok((await ask('GET', `payload-${bytes}`)) === `$${value}`, `${bytes} bytes`)
    }
  })

  await t.test('pipelined commands are answered in order', async () => {
    for (let number = 0; number < 500; number++) client.send('SET', `p${number}`, 'v'.repeat(number))
    for (let number = 0; number < 500; number++) equal(await client.reply(), `$p${number}`)
    for (let number = 0; number < 500; number++) client.send('LENGTH', `p${number}`)
    for (let number = 0; number < 500; number++) equal(await client.reply(), `:${number}`)
  })

  await t.test('INFO and NSINFO have 0-db’s lines, then ours', async () => {
    const info = await ask('INFO')
    match(info, /^\$# server\nserver_name: 0-db \(zdb\)\nserver_revision: 2\.0\.7\n/)
    const zdb = info.slice(1, info.indexOf('\n\n# hooks\n'))
    equal(
      [...zdb.matchAll(/^(?:# )?(\w+)/gm)].map(([, word]) => word).join(' '),
      'server server_name server_revision engine_revision instance_id boot_time uptime clients clients_lifetime internals ' +
        'sequential_key_size data_version index_version stats commands_executed commands_failed commands_unauthorized ' +
        'index_disk_read_failed index_disk_write_failed data_disk_read_failed data_disk_write_failed index_disk_read_bytes ' +
        'index_disk_read_mb index_disk_write_bytes index_disk_write_mb data_disk_read_bytes data_disk_read_mb ' +
        'data_disk_write_bytes data_disk_write_mb network_rx_bytes network_rx_mb network_tx_bytes network_tx_mb',
    )
    match(info, /\n\n# internals\nsequential_key_size: 8\n/)
    match(info, /\nhooks_configured: no\n/)
    match(info, /\nsegments_open: 1\n/)
    match(info, /\nkeydir_entries: [1-9]\d*\n/)
    match(info, /\nresident_bytes: [1-9]\d*\n/)
    for (const line of info.slice(1).split('\n')) match(line, /^(# \w+|\w+: .*|)$/)
    match(info, /\nnetwork_rx_bytes: [1-9]\d*\n/)
    match(info, /\ndata_disk_write_bytes: [1-9]\d*\n/)
    const lines = (await ask('NSINFO', 'default')).split('\n').map(line => line.split(':')[0])
    equal(
      lines.slice(1, -1).join(' '),
      'name entries public worm locked password data_size_bytes data_size_mb data_limits_bytes index_size_bytes index_size_kb ' +
        'next_internal_id mode stats_index_io_errors stats_index_io_error_last stats_index_faults stats_data_io_errors ' +
        'stats_data_io_error_last stats_data_faults index_disk_freespace_bytes index_disk_freespace_mb ' +
        'data_disk_freespace_bytes data_disk_freespace_mb data_path data_active index_path index_active data_current_id ' +
        'data_current_offset cut_files cut_bytes read_only_reason segments_open segments_closed segments_stored ' +
        'segments_absent segments_live_bytes segments_local_bytes segments_waiting segments_lost ' +
        'compactions compaction_copied_bytes compaction_freed_bytes compaction_damaged_segments',
    )
  })

  await t.test('STOP is not for everybody', async () => {
    equal(await ask('STOP'), '-Unauthorized')
    equal(await ask('HOOKS'), '[]')
  })
})

test('one cachedb, sequential keys', async t => {
  const cachedb = await CachedbProcess.start(t, { mode: 'sequential' })
  const client = await cachedb.raw()
  const ask = client.ask.bind(client)

  await t.test('ids count up and an update burns one', async () => {
    match(await ask('NSINFO', 'default'), /mode: sequential/)
    equal(await ask('SET', '', 'world'), shown(0))
    equal(await ask('SET', id(0), 'worldnewdata'), shown(0))
    equal(await ask('GET', id(0)), '$worldnewdata')
    equal(await ask('DEL', id(0)), '+OK')
    equal(await ask('SET', '', 'helloworld'), shown(2))
    equal(await ask('GET', id(2)), '$helloworld')
    match(await ask('NSINFO', 'default'), /next_internal_id: 0x0300000000000000\n/)
  })

  await t.test('only live ids are updated', async () => {
    for (const key of ['hello', id(0), id(1), id(99), Buffer.alloc(4)]) {
      equal(await ask('SET', key, 'x'), '-Invalid key, only update authorized')
    }
    equal(await ask('SET', id(2), 'helloworld'), '$-1')
    equal(await ask('GET', 'hello'), '$-1')
    equal(await ask('DEL', id(1)), '-Key not found')
  })

  await t.test('SCAN goes by id', async () => {
    for (let number = 3; number < 8; number++) equal(await ask('SET', '', `value ${number}`), shown(number))
    await using scanner = await cachedb.client()
    deepEqual(await scanAll(scanner), [2, 3, 4, 5, 6, 7].map(id))
  })
})

test('SCAN walks every key once and ends with the words that clients wait for', async t => {
  const cachedb = await CachedbProcess.start(t)
  await using client = await cachedb.client()
  const raw = await cachedb.raw()
  equal(await raw.ask('SCAN'), '-No more data')
  const keys = Array.from({ length: 3000 }, (_, number) => `key${number}`)
  await Promise.all(keys.map(key => client.call('SET', key, `value of ${key}`)))
  await Promise.all(keys.slice(0, 100).map(key => client.call('DEL', key)))
  const found = (await scanAll(client)).map(String)
  equal(found.join(), keys.slice(100).join())
  for (const wrong of ['x', '', 'y'.repeat(16), 'z'.repeat(18)]) {
    equal(await raw.ask('SCAN', wrong), '-Invalid key format')
  }
})

/** All keys, page by page: what a page holds is a matter of time. */
async function scanAll(client: RespClient): Promise<Buffer[]> {
  const found: Buffer[] = []
  let cursor: Buffer[] = []
  for (;;) {
    const page = await client.call('SCAN', ...cursor).catch((error: Error) => error.message)
    if (page === 'No more data') return found
    const [next, entries] = page as unknown as [Buffer, [Buffer, number, number][]]
    equal(next.length, 17)
    cursor = [Buffer.from(next)]
    found.push(...entries.map(([key]) => Buffer.from(key)))
  }
}
