import assert from 'node:assert'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { askControl } from '@qsfs/daemon/control'
import type { CheckResult, ReloadResult, StatusResult } from '@qsfs/protocol/stor-control'
import { startDaemon } from '../cli-fixture.ts'
import { storeToml } from '../store-fixture.ts'
import { type House, until } from './house.ts'

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

async function assertRetrieved(house: House, name: string, bytes: Buffer, when: string, to = 'back'): Promise<void> {
  const file = `${house.path}/${to}`
  await patiently(house, 'retrieve', { file, name })
  assert.ok((await readFile(file)).equals(bytes), `${name} has other bytes ${when}`)
}

/** kill -9 at a request of a store, whichever; it is started again, and whoever stored asks again. */
export async function killed(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const daemon = await startDaemon(stack, house.config)
  const base = await fileOf(house, 'base')
  await patiently(house, 'store', { file: base.file })
  // 3 times 2 pieces, 3 syncs, 6 sets of records with theirs, as they mix with the monitor's.
  const step = house.random.below(21)
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
  if (answer === null) await startDaemon(stack, house.config)
  await assertRetrieved(house, base.file, base.bytes, `after kill -9 at request ${step}`)
  const { found } = (await patiently(house, 'check', { file })) as { found: boolean }
  if (found) await assertRetrieved(house, file, bytes, `after kill -9 at request ${step}, not acknowledged`)
  await patiently(house, 'store', { file })
  await assertRetrieved(house, file, bytes, `stored again after kill -9 at request ${step}`)
  house.note(JSON.stringify(await ask(house, 'status')))
}

/** Whatever strangers write to the control socket is answered or cut off; the daemon goes on. */
export async function garbage(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const daemon = await startDaemon(stack, house.config)
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

const SETTINGS = {
  ...{ frame_bytes: 65_536, rebuild_after: '0s', health_check_interval: '100ms' },
  // A machine that is slow is no backend that is down.
  down_after: '2s',
}

/** Files are stored and read while backends, groups, the number of shards and metadata members change by reloads. What was on
 *  a backend that leaves is rebuilt from others, what a member held is given to the one in its place; then the next change. */
export async function changedUnderLoad(house: House): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const places = (kind: string, numbers: readonly number[]) =>
    numbers.map(i => ({ name: `${kind}${i}`, address: `dir:${house.path}/${kind}${i}` }))
  for (const i of [7, 8]) for (const kind of ['data', 'meta']) await mkdir(`${house.path}/${kind}${i}`)
  const six = [1, 2, 3, 4, 5, 6]
  const toml = (data: readonly number[], meta: readonly number[], extra = {}) =>
    storeToml(house.path, places('data', data), places('meta', meta), { ...SETTINGS, ...extra })
  const all = toml([1, 2, 3, 4, 5, 6, 7, 8], six)
  await writeFile(house.config, toml(six, six))
  const daemon = await startDaemon(stack, house.config)

  const acknowledged = new Map<string, Buffer>()
  const load = { isOver: false, stored: 0 }
  const lane = async (number: number) => {
    for (let i = 0; !load.isOver; i++) {
      const { file, bytes } = await fileOf(house, `load${number}-${i}`, 1 + house.random.below(80_000))
      await patiently(house, 'store', { file })
      acknowledged.set(file, bytes)
      load.stored++
      const [name, was] = house.random.pick([...acknowledged])
      await assertRetrieved(house, name, was, 'under load', `back${number}`)
      await pause(20)
    }
  }
  const lanes = Promise.all([1, 2, 3].map(lane)).finally(() => {
    load.isOver = true
  })
  // What fails first is told; the daemon is ended after it.
  lanes.catch(() => undefined)
  const settled = async () => {
    const status = (await ask(house, 'status')) as unknown as StatusResult
    const { repair, thinObjectCount } = status
    const isWhole = repair?.surveyed === true && repair.pendingCount === 0 && thinObjectCount === 0
    return isWhole && status.fillingBackends.length === 0
  }
  const steps = [
    all.replace('name = "data1"', 'name = "data1"\ndrain = true'),
    toml([2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 7], { expected_shards: 7, redundant_groups: 0 }),
    toml([8, 7, 6, 5, 4, 3, 2], [1, 2, 3, 4, 8, 7]),
  ]
  for (const text of steps) {
    const before = load.stored
    await until(() => load.isOver || load.stored >= before + 3)
    await writeFile(house.config, text)
    const { changed } = (await ask(house, 'reload')) as unknown as ReloadResult
    assert.ok(changed.length > 0)
    await until(async () => load.isOver || (await settled()))
  }
  // What does not hold is refused, and changes nothing.
  await writeFile(house.config, steps.at(-1)!.replace('expected_shards = 6', 'expected_shards = 9'))
  await assert.rejects(ask(house, 'reload'), { code: 'refused' })
  load.isOver = true
  await lanes
  for (const [name, bytes] of acknowledged) {
    const { deep } = (await ask(house, 'check', { file: name, deep: true })) as unknown as CheckResult
    assert.strictEqual(deep?.ok, true, JSON.stringify(deep))
    await assertRetrieved(house, name, bytes, 'after all changes')
  }
  await daemon.stop()
  house.note(daemon.stderr)
}
