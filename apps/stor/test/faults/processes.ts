import assert from 'node:assert'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { askControl } from '@qsfs/daemon/control'
import type { SpawnedProcess } from '@qsfs/testkit/spawn'
import { startDaemon } from '../cli-fixture.ts'
import { until } from '../store-fixture.ts'
import type { House } from './house.ts'

const socketOf = (house: House) => `${house.path}/stor.sock`
const ask = (house: House, verb: string, params = {}) =>
  askControl(socketOf(house), verb, params) as Promise<Record<string, unknown>>

async function fileOf(house: House, name: string, sizeBytes = 100_000) {
  const file = `${house.path}/${name}`
  const bytes = house.random.bytes(sizeBytes)
  await writeFile(file, bytes)
  return { file, bytes }
}

/** Whoever is told «try again later» does. */
async function patiently(house: House, verb: string, params = {}) {
  for (let asked = 1; ; asked++) {
    try {
      return await ask(house, verb, params)
    } catch (error) {
      if (asked === 50 || !['unavailable', 'too-few-shards'].includes((error as { code: string }).code)) throw error
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
}

async function assertRetrieved(house: House, name: string, bytes: Buffer, when: string): Promise<void> {
  const file = `${house.path}/back`
  await patiently(house, 'retrieve', { file, name })
  assert.ok((await readFile(file)).equals(bytes), `${name} has other bytes ${when}`)
}

/** kill -9 at a request of a store, whichever; it is started again, and whoever stored asks again. */
export async function killed(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  let daemon = await startDaemon(stack, house.config)
  const base = await fileOf(house, 'base')
  await patiently(house, 'store', { file: base.file })
  // 3 times 2 pieces, 3 syncs, 6 sets of records with theirs, as they mix with the monitor's.
  for (const step of [house.random.below(9), 9 + house.random.below(12)]) {
    let left = step
    for (const proxy of house.proxies.values()) {
      proxy.behaviour = async ({ name }, next) => {
        if ((name === 'SET' || name === 'FSYNC') && left-- === 0) process.kill(daemon.pid, 'SIGKILL')
        return left < 0 ? { quirk: 'cut' } : next()
      }
    }
    const { file, bytes } = await fileOf(house, `at${step}`)
    const answer = await ask(house, 'store', { file }).catch(() => null)
    if (answer === null) assert.strictEqual(await daemon.exited, 'SIGKILL')
    house.heal()
    if (answer === null) daemon = await startDaemon(stack, house.config)
    await assertRetrieved(house, base.file, base.bytes, `after kill -9 at request ${step}`)
    const { found } = (await patiently(house, 'check', { file })) as { found: boolean }
    if (found) await assertRetrieved(house, file, bytes, `after kill -9 at request ${step}, not acknowledged`)
    await patiently(house, 'store', { file })
    await assertRetrieved(house, file, bytes, `stored again after kill -9 at request ${step}`)
  }
  house.note(JSON.stringify(await ask(house, 'status')))
}

/** Two daemons at work on one store, as on two machines: other sockets, the same backends, the same master secret. */
export async function twice(house: House): Promise<void> {
  const other = await house.other()
  await using _ = other
  const both = [house, other]
  const names = [1, 2, 3, 4].map(i => `/n${i}`)
  await Promise.all(
    both.map(async (one, i) => {
      for (const name of names) await one.mustStore(`${name}of${i}`)
    }),
  )
  // The same names by both: one of the two is what the name stands for, whole.
  const outcomes = await Promise.all(both.flatMap(one => names.map(name => one.store(name))))
  for (const error of outcomes) if (error !== null) assert.ok(error.retryable, error.message)
  for (const name of names) {
    const sent = both.flatMap(one => one.sent(name))
    for (const one of both) {
      one.forget(name)
      const bytes = await one.retrieve(name)
      assert.ok(
        sent.some(mine => mine.equals(bytes)),
        `${name} is mixed`,
      )
    }
  }
  await Promise.all(
    both.map(async one => {
      const { repairer } = await one.runtime.store()
      await repairer.rebuild(null)
    }),
  )
  for (const one of both) {
    await one.assertNothingLost('beside another stor')
    await one.assertMendable()
    await until(async () => (await one.status()).otherDaemonSeenMs !== null)
  }
}

/** The config changes again and again while files are stored and read. */
export async function changedUnderLoad(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const daemon = await startDaemon(stack, house.config)
  await mkdir(`${house.path}/data7`)
  const first = await readFile(house.config, 'utf8')
  const seventh = `[[stor.groups]]\n[[stor.groups.backends]]\nname = "data7"\naddress = "dir:${house.path}/data7"\n[stor.meta.config]`
  const added = first.replace('[stor.meta.config]', seventh)
  const removed = added.replace(/\[\[stor\.groups\.backends\]\]\nname = "data2"\n.*\n/, '')
  const other = added.replace('minimal_shards = 4', 'minimal_shards = 3')
  const load = { isOver: false }
  const acknowledged = new Map<string, Buffer>()
  const lanes = [0, 1].map(async lane => {
    for (let i = 0; !load.isOver; i++) {
      const { file, bytes } = await fileOf(house, `load${lane}-${i}`, 40_000)
      await ask(house, 'store', { file })
      acknowledged.set(file, bytes)
      const [name, was] = house.random.pick([...acknowledged])
      const back = `${house.path}/back${lane}`
      await ask(house, 'retrieve', { file: back, name })
      assert.ok((await readFile(back)).equals(was), `${name} has other bytes under load`)
    }
  })
  const changes = Promise.all(lanes).catch(error => {
    load.isOver = true
    throw error
  })
  for (const text of [added, removed, other, removed, first]) {
    await writeFile(house.config, text)
    await ask(house, 'reload')
  }
  // What does not hold is refused, and changes nothing.
  await writeFile(house.config, first.replace('expected_shards = 6', 'expected_shards = 9'))
  await assert.rejects(ask(house, 'reload'), { code: 'refused' })
  await writeFile(house.config, first)
  load.isOver = true
  await changes
  for (const [name, bytes] of acknowledged) await assertRetrieved(house, name, bytes, 'after all changes')
  await ask(house, 'rebuild', { all: true })
  for (const [name, bytes] of acknowledged) await assertRetrieved(house, name, bytes, 'after all is rebuilt')
  house.note(daemon.stderr)
}

/** Another secret, and then a damaged superblock: each is told for what it is, and nothing is overwritten. */
export async function wrongSecret(house: House): Promise<void> {
  await house.mustStore('/secret')
  await house.stop()
  const right = await readFile(`${house.path}/master`)
  await writeFile(`${house.path}/master`, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
  const wrong = await house.start().catch(error => error)
  assert.strictEqual(wrong.reason, 'wrong-key')
  await house.stop()
  await writeFile(`${house.path}/master`, right, { mode: 0o600 })
  const superblocks = [1, 2, 3, 4, 5, 6].map(i => `${house.path}/meta${i}/records/73`)
  const whole = await Promise.all(superblocks.map(path => readFile(path)))
  for (const [i, path] of superblocks.entries()) {
    const bytes = Buffer.from(whole[i]!)
    bytes[0]! ^= 1
    await writeFile(path, bytes)
  }
  const damaged = await house.start().catch(error => error)
  assert.strictEqual(damaged.reason, 'damaged')
  await house.stop()
  // One that is whole is enough.
  await writeFile(superblocks[house.random.below(6)]!, whole[0]!)
  await house.start()
  await house.assertNothingLost('with its own secret again')
  house.note(`${wrong.message}\n${damaged.message}`)
}

/** Whatever strangers write to the control socket is answered or cut off; the daemon goes on. */
export async function garbage(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const daemon: SpawnedProcess = await startDaemon(stack, house.config)
  const { file, bytes } = await fileOf(house, 'f')
  await patiently(house, 'store', { file })
  const lines = [
    ...[
      '',
      'null',
      '7',
      '[]',
      '{',
      '{}',
      '{"verb":7}',
      '{"verb":"__proto__"}',
      '{"verb":"constructor"}',
      '{"verb":"status","x":1}',
    ],
    ...['{"verb":"store","file":"relative"}', '{"verb":"store","file":"/\\u0000"}', '{"verb":"retrieve","file":{}}'],
    `{"verb":"check","file":"/${'x'.repeat(5000)}"}`,
    `{"verb":"${'y'.repeat(100_000)}"}`,
  ].map(text => Buffer.from(`${text}\n`))
  for (let i = 0; i < 20; i++)
    lines.push(Buffer.concat([house.random.bytes(1 + house.random.below(3000)), Buffer.of(10)]))
  const answers = await Promise.all(lines.map(line => answerTo(socketOf(house), line)))
  for (const answer of answers) assert.doesNotMatch(answer, /"result"|"internal"/)
  await assertRetrieved(house, file, bytes, 'after garbage')
  house.note(answers.join(''))
  assert.doesNotMatch(daemon.stderr, /handler_failed/)
}

function answerTo(path: string, line: Buffer): Promise<string> {
  return new Promise(resolve => {
    let answer = ''
    const socket = createConnection(path, () => socket.end(line))
    socket.on('data', chunk => {
      answer += chunk
    })
    socket.on('error', () => undefined)
    socket.once('close', () => resolve(answer))
  })
}

/** The disk that it is retrieved to is full: nothing under the name, nothing beside it, and the next one works. */
export async function targetFull(house: House): Promise<void> {
  await house.mustStore('/big', 300_000)
  const { objects } = await house.runtime.store()
  const target = `${house.path}/target`
  await mkdir(target)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', target])
  try {
    const error = await objects.retrieve({ file: `${target}/big`, name: '/big' }).catch(error => error)
    assert.strictEqual(error.reason, 'file', String(error))
    assert.deepStrictEqual(await readdir(target), [])
    const range = { offsetBytes: 1000, lengthBytes: 50_000 }
    await objects.retrieve({ file: `${target}/part`, name: '/big', range })
    house.note(error.message)
  } finally {
    execFileSync('umount', [target])
  }
  await house.assertNothingLost('when there is room again')
}
