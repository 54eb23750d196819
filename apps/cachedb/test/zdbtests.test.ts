import { strict as assert } from 'node:assert'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { KeyMode } from '../src/engine/namespace.ts'
import { CachedbProcess, type RawClient, request } from './cachedb-process.ts'

// What 0-db's own test program asks of a server (specification, section 9.2), in its order, on one connection, in both modes.
// Where it uses a key by name, the sequential run uses the id that the name was given.

const long = 'x'.repeat(511)
const zeros = '0'.repeat(40)

/** One connection and the ids of its names. Like 0-db's program it takes nil for an error where it expects one. */
class Tester {
  readonly mode: KeyMode
  readonly client: RawClient
  readonly #ids = new Map<string, Buffer>()
  #namespace = 'default'

  constructor(mode: KeyMode, client: RawClient) {
    this.mode = mode
    this.client = client
  }

  ask(...args: readonly (string | Buffer)[]): Promise<string> {
    return this.client.ask(...args)
  }

  /** What a name is as a key of the current namespace; 8 bytes that no id has when it is none yet. */
  key(name: string): string | Buffer {
    return this.mode === 'user' ? name : (this.#ids.get(`${this.#namespace}/${name}`) ?? Buffer.alloc(8, 0x7f))
  }

  /** Whether the SET was answered with its key. */
  async set(name: string, value: string): Promise<boolean> {
    const known = this.#ids.get(`${this.#namespace}/${name}`)
    const reply = await this.ask('SET', this.mode === 'user' ? name : (known ?? ''), value)
    if (this.mode === 'user') return reply === `$${name}`
    if (known !== undefined) return reply === `$${known.toString('latin1')}`
    if (reply.length === 9) this.#ids.set(`${this.#namespace}/${name}`, Buffer.from(reply.slice(1), 'latin1'))
    return reply.length === 9
  }

  get(name: string): Promise<string> {
    return this.ask('GET', this.key(name))
  }

  /** DEL; a name that is set later is another id. */
  async delete(name: string): Promise<void> {
    await this.status('DEL', this.key(name))
    this.#ids.delete(`${this.#namespace}/${name}`)
  }

  async select(namespace: string, ...secret: string[]): Promise<void> {
    await this.status('SELECT', namespace, ...secret)
    this.#namespace = namespace
  }

  async status(...args: readonly (string | Buffer)[]): Promise<string> {
    const reply = await this.ask(...args)
    assert(reply.startsWith('+'), `${args.join(' ')}: ${reply}`)
    return reply
  }

  async string(...args: readonly (string | Buffer)[]): Promise<string> {
    const reply = await this.ask(...args)
    assert(reply.startsWith('$') && reply !== '$-1', `${args.join(' ').slice(0, 80)}: ${reply.slice(0, 80)}`)
    return reply
  }

  async error(...args: readonly (string | Buffer)[]): Promise<void> {
    const reply = await this.ask(...args)
    assert(reply.startsWith('-') || reply === '$-1', `${args.join(' ').slice(0, 80)}: ${reply.slice(0, 80)}`)
  }

  /** "Basic suite" of a command that takes one argument. */
  async basic(command: string): Promise<void> {
    for (const args of [['non-existing'], ['deleted'], ['hello', 'world'], [], [long], ['']]) {
      await this.error(command, ...args)
    }
  }

  async answer(password: string): Promise<string> {
    const challenge = (await this.status('AUTH', 'SECURE', 'CHALLENGE')).slice(1)
    return createHash('sha1').update(`${challenge}:${password}`).digest('hex')
  }
}

for (const mode of ['user', 'sequential'] as const) {
  test(`0-db's test program, ${mode} keys`, async t => {
    const cachedb = await CachedbProcess.start(t, { mode: mode === 'user' ? 'mixed' : mode, allow_stop: true })
    const tester = new Tester(mode, await cachedb.raw())
    for (const [name, group] of Object.entries(groups)) await t.test(name, () => group(tester, cachedb))
  })
}

const groups: Readonly<Record<string, (on: Tester, cachedb: CachedbProcess) => Promise<void>>> = {
  '1-3 base': async on => {
    assert.equal(await on.ask('PING'), '+PONG')
    assert.equal(await on.ask('DBSIZE'), ':0')
    assert((await on.string('NSINFO', 'default')).includes(`mode: ${on.mode === 'user' ? 'userkey' : 'sequential'}\n`))
  },

  '4-17 default keys': async on => {
    if (on.mode === 'sequential') {
      const id = (number: number) => Buffer.from([number, 0, 0, 0, 0, 0, 0, 0])
      assert.equal(await on.ask('SET', '', 'world'), `$${id(0)}`)
      assert.equal(await on.ask('SET', id(0), 'worldnewdata'), `$${id(0)}`)
      assert.match(await on.ask('GET', id(0)), /^\$world/)
      assert.equal(await on.ask('DEL', id(0)), '+OK')
      assert.equal(await on.ask('SET', '', 'helloworld'), `$${id(2)}`)
      assert.equal(await on.ask('GET', id(2)), '$helloworld')
    }
    assert(await on.set('hello', 'world'))
    assert.equal(await on.get('hello'), '$world')
    await on.delete('hello')
    assert(await on.set('hello', 'world-new'))
    assert.equal(await on.get('hello'), '$world-new')
    assert(await on.set('deleted', 'yep'))
    const deleted = on.key('deleted')
    await on.delete('deleted')
    await on.error('GET', deleted)
  },

  '18-23 overwriting': async on => {
    await on.error('BIPBIPBIP')
    if (on.mode === 'user') await on.error('SET', '', 'world')
    assert(await on.set('overwrite', 'original'))
    for (const value of ['ORIGINAL', 'short', 'longer than it was before']) {
      assert(await on.set('overwrite', value))
      assert.equal(await on.get('overwrite'), `$${value}`)
    }
    assert.equal(await on.ask('SET', on.key('overwrite'), 'longer than it was before'), '$-1')
  },

  '24-32 EXISTS, CHECK': async on => {
    await on.error('EXISTS')
    await on.error('CHECK')
    assert.equal(await on.ask('EXISTS', 'non-existing'), ':0')
    assert.equal(await on.ask('EXISTS', 'deleted'), ':0')
    await on.error('EXISTS', long)
    assert.equal(await on.ask('EXISTS', on.key('hello')), ':1')
    await on.error('CHECK', 'non-existing')
    await on.error('CHECK', 'deleted')
    assert.equal(await on.ask('CHECK', on.key('hello')), ':1')
  },

  '33-37 one argument': async on => {
    for (const command of ['CHECK', 'GET', 'DEL', 'SELECT', 'AUTH', 'NSINFO']) await on.basic(command)
  },

  '38-43 AUTH': async on => {
    await on.error('AUTH', 'blabla')
    for (const args of [['root'], ['SECURE', 'bipbap'], ['SECURE', zeros]]) await on.error('AUTH', ...args)
    await on.error('AUTH', 'SECURE', await on.answer('root'))
    await on.error('*')
  },

  '44-54 namespaces': async on => {
    await on.error('SELECT', 'notfound')
    await on.status('NSNEW', 'test_ns_create')
    assert.equal(await on.ask('NSNEW', 'test_ns_create'), '-This namespace is not available')
    await on.error('NSNEW', long)
    await on.select('test_ns_create')
    assert(await on.set('hello-ns', 'world-ns'))
    assert.equal(await on.get('hello-ns'), '$world-ns')
    const key = on.key('hello-ns')
    await on.select('default')
    if (on.mode === 'user') await on.error('GET', key)
  },

  '55-79 passwords': async on => {
    const name = 'test_ns_protected'
    const password = 'helloworld'
    await on.status('NSNEW', name)
    await on.status('NSSET', name, 'password', password)
    await on.status('NSSET', name, 'public', '0')
    for (const wrong of [['blabla'], ['hello'], [`${password}!`], [], [long]]) await on.error('SELECT', name, ...wrong)
    await on.select(name, password)
    await on.select('default')
    const fresh = new Tester(on.mode, on.client)
    for (const wrong of ['abcdef', zeros]) await fresh.error('SELECT', name, 'SECURE', wrong)
    await on.select(name, 'SECURE', await on.answer(password))
    assert(await on.set('hello', 'protected'))
    await on.select('default')
    await on.select('default')
    await on.status('NSSET', name, 'public', '1')
    await on.select(name)
    await on.error('SET', on.key('hello'), 'read-only')
    await on.error('DEL', on.key('hello'))
    await on.status('NSSET', name, 'password', '*')
    await on.select(name)
    await on.status('NSSET', name, 'password', 'mynewpassword')
    await on.select(name, 'mynewpassword')
    await on.select('default')
  },

  '80-85 NSSET that is refused': async on => {
    await on.error('NSSET', 'unknown', 'public', '1')
    await on.error('NSSET', 'test_ns_create', 'unknown', '1')
    await on.error('NSSET', 'test_ns_create', 'password', 'x'.repeat(119))
    for (const property of ['public', 'maxsize', 'password']) await on.error('NSSET', 'default', property, '1')
  },

  '86-96 quota': async on => {
    await on.status('NSNEW', 'test_ns_quota')
    await on.status('NSSET', 'test_ns_quota', 'maxsize', '16')
    await on.select('test_ns_quota')
    const steps = [
      ['ten', 10, true],
      ['five', 5, true],
      ['one', 1, true],
      ['more', 1, false],
      ['one', 1, true],
      ['ten', 5, true],
      ['six', 6, false],
      ['fits', 5, true],
    ] as const
    // Another letter each time: what is there already would be nil.
    for (const [index, [name, bytes, fits]] of steps.entries())
      assert.equal(await on.set(name, 'ABCDEFGH'[index]!.repeat(bytes)), fits, `step ${index}`)
    await on.select('default')
  },

  '97-105 what there is': async on => {
    await on.error('NSNEW')
    await on.error('NSSET', 'default')
    await on.error('NSSET', 'unknown', 'x', 'y')
    await on.error('NSSET', 'test_ns_create', 'public', 'x'.repeat(385))
    await on.error('NSNEW', '../../hello')
    await on.error('NSINFO', 'unknown')
    await on.string('NSINFO', 'default')
    assert.match(await on.ask('NSLIST'), /^\[\$default .*\]$/)
  },

  '106-119 NSDEL': async on => {
    const name = 'test_ns_delete'
    await on.status('NSNEW', name)
    await on.error('NSDEL', long)
    await on.select(name)
    for (const args of [[name, 'extra'], [name], ['default']]) await on.error('NSDEL', ...args)
    await on.select('default')
    await on.status('NSDEL', name)
    await on.error('NSDEL', name)
    await on.status('NSNEW', name)
    await on.select(name)
    for (let number = 0; number < 5; number++) assert(await on.set(`key ${number}`, 'value'))
    await on.select('default')
    await on.status('NSDEL', name)
  },

  '120-127 RELOAD': async on => {
    await on.error('RELOAD', 'default', 'extra')
    await on.error('RELOAD', 'x'.repeat(199))
    await on.error('RELOAD', 'unknown')
    await on.status('NSNEW', 'test_ns_reload')
    await on.select('test_ns_reload')
    assert(await on.set('hello', 'reload'))
    await on.status('RELOAD', 'test_ns_reload')
    assert.equal(await on.get('hello'), '$reload')
  },

  '128-147 payloads': async on => {
    await on.status('NSNEW', 'test_ns_payload')
    await on.select('test_ns_payload')
    for (const bytes of [512, 1 << 10, 4 << 10, 64 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20]) {
      assert(await on.set(`payload ${bytes}`, 'B'.repeat(bytes)))
      assert((await on.get(`payload ${bytes}`)) === `$${'B'.repeat(bytes)}`, `${bytes} bytes`)
    }
    await on.select('default')
  },

  '148-156 history': async on => {
    for (let number = 1; number <= 6; number++) assert(await on.set('changeme', `history value ${number}`))
    let position: Buffer[] = []
    for (let number = 6; number >= 1; number--) {
      on.client.send('HISTORY', on.key('changeme'), ...position)
      const reply = await on.client.reply()
      const found = /^\[\$(-1|.{8}) \$\d{10} \$(.*)\]$/s.exec(reply)
      assert.equal(found?.[2], `history value ${number}`)
      position = [Buffer.from(found[1]!, 'latin1')]
    }
    assert.equal(String(position[0]), '-1')
  },

  '157-181 scans': async on => {
    await on.status('NSNEW', 'test_ns_scan')
    await on.select('test_ns_scan')
    for (let number = 1; number <= 6; number++) assert(await on.set(`key${number}`, `value ${number}`))
    const first = async (command: string, name: string, key = on.key(name)) => {
      const reply = await on.ask(command)
      assert.equal(reply.slice(1, 2) + reply.slice(19, 23), '$ [[$', reply)
      assert(reply.startsWith(`${key.toString('latin1')} :7 :`, 23), `${command} begins with ${name}`)
    }
    await first('SCAN', 'key1')
    await first('RSCAN', 'key6')
    await on.delete('key1')
    await first('SCAN', 'key2')
    await on.delete('key6')
    await first('RSCAN', 'key5')
    for (const command of ['SCAN', 'RSCAN']) for (const wrong of ['', 'hello', long]) await on.error(command, wrong)
    await on.error('KEYCUR', 'unknown')
    assert.equal((await on.string('KEYCUR', on.key('key4'))).length, 18)
    await on.error('KSCAN')
    await on.select('default')
    if (on.mode === 'user') assert.match(await on.ask('KSCAN', 'h'), /^\[\$0 \[\$hello\]\]$/)
    else await on.error('KSCAN', 'h')
  },

  '182-187 low level: requests that are none': async (_, cachedb) => {
    const client = await cachedb.raw()
    for (const byte of request(['PING'])) {
      client.socket.write(Buffer.from([byte]))
      await sleep(1)
    }
    assert.equal(await client.reply(), '+PONG')
    for (const bad of ['+1\r\nPING\r\n', '*0\r\n', '*1025\r\n', '*1\r\n*1\r\n$4\r\nPING\r\n']) {
      const other = await cachedb.raw()
      other.socket.write(bad)
      assert.match(await other.bytes(1), /^-$/)
    }
  },

  '188-191 low level: around 8,192 bytes, 128 connections, MIRROR': async (on, cachedb) => {
    const client = await cachedb.raw()
    if (on.mode === 'user') {
      // The payload ends at byte 8,193.
      const head = '*3\r\n$3\r\nSET\r\n$3\r\nXXX\r\n$8157\r\n'
      client.socket.write(`${head}${'x'.repeat(8157)}\r\n`)
      assert.equal(await client.bytes(9), '$3\r\nXXX\r\n')
    }
    for (const bytes of [8178, 8175]) {
      client.socket.write(`*1\r\n$${bytes}\r\n${'x'.repeat(bytes)}\r\n`)
      assert.equal(await client.reply(), '-Command not supported')
    }
    const many = await Promise.all(Array.from({ length: 128 }, () => cachedb.raw()))
    for (const one of many) one.send('PING')
    for (const one of many) assert.equal(await one.reply(), '+PONG')
    for (const one of many) one.socket.destroy()
    assert.match(await client.ask('MIRROR'), /^\+/)
  },

  '192-197 the rest': async (on, cachedb) => {
    await on.select('default')
    assert.match(await on.ask('TIME'), /^\[\$\d+ \$\d+\]$/)
    await on.string('INFO')
    await on.error('WAIT')
    await on.error('WAIT', 'nonexisting')
    on.client.send('WAIT', 'PING', '10000')
    on.client.send('DBSIZE')
    assert.match(await on.client.reply(), /^:\d+$/, 'the connection goes on')
    assert.equal(await (await cachedb.raw()).ask('PING'), '+PONG')
    assert.equal(await on.client.reply(), '+PING')
  },

  '198 STOP': async (on, cachedb) => {
    await on.status('STOP')
    assert.equal(await cachedb.process.exited, 0)
  },
}
