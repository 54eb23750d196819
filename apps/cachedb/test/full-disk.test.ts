import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { RespError } from '@qsfs/resp/client'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { CachedbProcess } from './cachedb-process.ts'
import { type Knobs, pickKnobs } from './model/knobs.ts'
import { type Answer, Life } from './model/life.ts'
import { SimulatedStore, wellBehaved } from './model/store.ts'
import { SimulatedStorage } from './simulated-storage.ts'

async function started(storage: SimulatedStorage): Promise<Life> {
  storage.makeDirectory('/data')
  const knobs: Knobs = { ...pickKnobs(prngFromSeed(1)), store: null, limitSegments: 0, fsync: 'on-request' }
  const store = { objects: new SimulatedStore(), manners: wellBehaved }
  const life = await Life.start(storage, prngFromSeed(2), knobs, store, () => false)
  assert.equal(life!.connect('default', ''), null)
  return life!
}

test('whatever a full disk refuses is FULL, and done when there is room', async () => {
  const storage = new SimulatedStorage()
  const life = await started(storage)
  const ask = async (...args: string[]): Promise<Answer> => {
    const answer = life.send('default', ...args)
    await life.settled([answer], () => false)
    return answer
  }
  await ask('SET', 'key', 'value')
  storage.capacityBytes = storage.usedBytes
  for (const change of [['SET', 'other', 'value'], ['DEL', 'key'], ['NSJUMP']])
    assert.match((await ask(...change)).error!.message, /^FULL space/, change.join(' '))
  assert.equal((await ask('NSNEW', 'new')).error!.message, 'Could not create namespace')
  assert.equal(String((await ask('GET', 'key')).reply), 'value')
  assert.equal((await ask('FSYNC')).error, null)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  for (const change of [['NSNEW', 'new'], ['NSJUMP'], ['SET', 'other', 'value'], ['DEL', 'key'], ['FSYNC']])
    assert.equal((await ask(...change)).error, null, change.join(' '))
})

test('a RELOAD that finds no room is made good by itself when there is some', async () => {
  const storage = new SimulatedStorage()
  const life = await started(storage)
  const answers: Answer[] = [life.send('default', 'SET', 'key', 'value'), life.send('default', 'FSYNC')]
  await life.settled(answers, () => false)
  storage.capacityBytes = storage.usedBytes
  const reload = life.send(null, 'RELOAD', 'default')
  await life.settled([reload], () => false)
  assert.match(reload.error!.message, /^(FULL|IOERR) /)
  const get = life.send('default', 'GET', 'key')
  await life.settled([get], () => false)
  assert.match(get.error!.message, /^(FULL|IOERR) /)
  storage.capacityBytes = Number.POSITIVE_INFINITY
  await life.clock.advance(3_000)
  const again = life.send('default', 'GET', 'key')
  await life.settled([again], () => false)
  assert.equal(String(again.reply), 'value')
})

test('a server whose filesystem is full says so, answers, and goes on when there is room', async t => {
  const directory = await temporaryDirectory()
  const mountpoint = join(directory.path, 'small')
  mkdirSync(mountpoint)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', mountpoint])
  t.after(async () => {
    // Lazily: the server has files open in it until it is gone.
    if (mounted.status === 0) spawnSync('umount', ['-l', mountpoint])
    await directory[Symbol.asyncDispose]()
  })
  if (mounted.status !== 0) return t.skip('mounting takes root')
  const cachedb = await CachedbProcess.start(t, { data_dir: join(mountpoint, 'data'), segment_bytes: '512KiB' })
  const value = Buffer.alloc(60_000, 'x')
  {
    await using client = await cachedb.client()
    const ballast = join(mountpoint, 'ballast')
    writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024))
    const answered: string[] = []
    const fill = async () => {
      for (let number = 0; number < 200; number++) {
        await client.call('SET', `key ${answered.length}`, value)
        answered.push(`key ${answered.length}`)
      }
    }
    await assert.rejects(fill(), (error: Error) => error instanceof RespError && error.message === 'FULL space')
    assert(answered.length > 5)
    // To the last byte: the reserve of the cache is gone too.
    spawnSync('sh', ['-c', `cat /dev/zero > ${mountpoint}/more 2>/dev/null`])
    await assert.rejects(client.call('SET', 'one more', value), /^RespError: FULL space/)
    for (const key of answered) assert(value.equals((await client.call('GET', key)) as Buffer), key)
    await client.call('FSYNC')
    rmSync(ballast)
    rmSync(join(mountpoint, 'more'))
    await client.call('SET', 'one more', value)
    await client.call('DEL', answered[0]!)
    await client.call('FSYNC')
  }
  process.kill(cachedb.process.pid, 'SIGKILL')
  await cachedb.process.exited
  await cachedb.start()
  await using client = await cachedb.client()
  assert(value.equals((await client.call('GET', 'one more')) as Buffer))
  assert.equal(await client.call('GET', 'key 0'), null)
})
