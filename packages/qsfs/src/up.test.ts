import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { isMounted } from '@qsfs/fuse/mount'
import { type SpawnedProcess, spawnProcess } from '@qsfs/testkit/spawn'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { appMain } from './apps.ts'
import { isRunning, type RunningInstance } from './supervisor/running-processes.ts'

const launcher = join(import.meta.dirname, '../bin/qsfs')
const run = promisify(execFile)

/** An empty place to run in; whatever is mounted there is taken away at the end. */
async function place() {
  const tmp = await temporaryDirectory()
  const mount = join(tmp.path, 'mnt')
  await mkdir(mount)
  return {
    path: tmp.path,
    state: join(tmp.path, 'state'),
    mount,
    async [Symbol.asyncDispose]() {
      await run('umount', ['-l', mount]).catch(() => undefined)
      await tmp[Symbol.asyncDispose]()
    },
  }
}

type Place = Awaited<ReturnType<typeof place>>

function up({ state, mount, path }: Place, ...more: string[]): SpawnedProcess {
  const options = { cwd: path, env: { INIT_CWD: path }, stopWithinMs: 90_000 }
  return spawnProcess(launcher, ['up', '--state', state, '--mount', mount, ...more], options)
}

async function instanceOf({ state }: Place): Promise<RunningInstance> {
  return JSON.parse(await readFile(join(state, 'processes.json'), 'utf8'))
}

async function until(what: string, done: () => Promise<boolean>, withinMs = 60_000): Promise<void> {
  const giveUp = AbortSignal.timeout(withinMs)
  while (!(await done())) {
    if (giveUp.aborted) throw new Error(`${what}: not within ${withinMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

/** It ended with this code and said this, once, and left neither processes nor a mount. */
async function refused(child: SpawnedProcess, code: number, sentence: RegExp, at: Place): Promise<void> {
  assert.equal(await child.exited, code, child.stderr)
  assert.match(child.stderr, sentence)
  assert.equal(child.stdout, '')
  assert.equal(await isMounted(at.mount), false)
  await assert.rejects(stat(join(at.state, 'processes.json')), { code: 'ENOENT' })
}

test('a mountpoint that cannot be one is refused', async () => {
  await using at = await place()
  await using missing = up(at, '--mount', join(at.path, 'no', 'mnt'))
  await refused(missing, 2, /^qsfs: the mountpoint .*\/no\/mnt cannot be made: ENOENT/m, at)
  await writeFile(join(at.path, 'file'), '')
  await using file = up(at, '--mount', 'file')
  await refused(file, 2, /^qsfs: the mountpoint .*\/file is not a directory$/m, at)
  await writeFile(join(at.mount, 'something'), '')
  await using full = up(at)
  await refused(full, 2, /^qsfs: the mountpoint .*\/mnt is not empty$/m, at)
})

test('wrong flags and configs are refused by file, line and key', async () => {
  await using at = await place()
  await using flag = up(at, '--stat', 'x')
  await refused(flag, 2, /unknown option '--stat'\n\(Did you mean --state\?\)/, at)
  await using transport = up(at, '--transport', 'pigeon')
  await refused(transport, 2, /Allowed choices are kernel, fuse-native/, at)
  await using absent = up(at, '--config', 'absent.toml')
  await refused(absent, 2, /^qsfs: the config .*\/absent.toml does not exist$/m, at)

  await writeFile(join(at.path, 'section.toml'), '[cachedb]\n[fss]\n')
  await using section = up(at, '--config', 'section.toml')
  await refused(section, 2, /^qsfs: .*\/section.toml:2: fss is not a section; did you mean \[fs\]\?$/m, at)
  // Only the daemon knows its keys; the user reads of their own file nevertheless.
  await writeFile(join(at.path, 'key.toml'), '[fs]\n\n[cachedb]\n\nsegmnet_bytes = "8MiB"\n')
  await using key = up(at, '--config', 'key.toml')
  const sentence =
    /^qsfs: cachedb: \S*\/key.toml:5: \[cachedb\] segmnet_bytes is not a key; did you mean segment_bytes\?$/m
  await refused(key, 2, sentence, at)
})

test('a port in use is told by the daemon that wanted it, and the others end', async t => {
  await using at = await place()
  const holder = createServer().listen(0, '127.0.0.1')
  t.after(() => holder.close())
  await once(holder, 'listening')
  const { port } = holder.address() as AddressInfo
  await writeFile(join(at.path, 'port.toml'), `[cachedb]\nlisten = "127.0.0.1:${port}"\n`)
  await using taken = up(at, '--config', 'port.toml')
  assert.equal(await taken.exited, 1, taken.stderr)
  assert.match(taken.stderr, new RegExp(`^qsfs: cachedb: .*127\\.0\\.0\\.1:${port}.* in use`, 'm'))
  await nothingIsLeft(at)
})

test('without privilege or /dev/fuse the sentence says what to do', async () => {
  await using at = await place()
  const args = ['up', '--state', at.state, '--mount', at.mount]
  await using powerless = spawnProcess('setpriv', ['--bounding-set', '-sys_admin', launcher, ...args])
  await refused(powerless, 1, /^qsfs: no privilege to mount: give the container --cap-add SYS_ADMIN/m, at)
  // A /dev of our own in a mount namespace of its own, without fuse.
  const dev = join(at.path, 'dev')
  const script = `mkdir "$0" && for d in "null 1 3" "zero 1 5" "urandom 1 9"; do set -- $d "$@"; mknod "$0/$1" c $2 $3; shift 3; done
    mount --bind "$0" /dev && exec "$@"`
  await using deviceless = spawnProcess('unshare', ['-m', 'sh', '-c', script, dev, launcher, ...args])
  await refused(deviceless, 1, /^qsfs: there is no \/dev\/fuse: run `modprobe fuse`/m, at)
})

test('a whole life: start, write, stop, go on, be killed, go on', { timeout: 900_000 }, async () => {
  await using at = await place()
  const file = join(at.mount, 'folder', 'file')
  // A password changes nothing for who may read it.
  await writeFile(join(at.path, 'password'), 'open sesame\n')
  await writeFile(join(at.path, 'qsfs.toml'), '[cachedb]\nadmin_password_file = "password"\n')
  const start = () => up(at, '--config', 'qsfs.toml')
  {
    await using first = start()
    await first.waitForLine(/^ready: /)
    assert.equal(first.stdout, `ready: ${at.mount}\n`)
    assert.match(first.stderr, /a new master secret is in .*\/state\/master.key\. Keep a copy/)
    assert.equal((await stat(join(at.state, 'master.key'))).mode & 0o777, 0o600)
    await mkdir(join(at.mount, 'folder'))
    await writeFile(file, 'first', { flush: true })

    await using second = up(at)
    assert.equal(await second.exited, 1)
    const taken = `^qsfs: qsfs runs already on the state .*/state: process ${first.pid}, mounted at ${at.mount}$`
    assert.match(second.stderr, new RegExp(taken, 'm'))

    await everythingIsShown(at)
    await everythingLeaves(at)
    await aPathTellsItsState(at, file)
    await fsckFindsNothing(at, '--deep')
    await assert.rejects(run(launcher, ['fsck', '--state', at.state, '--repair']), {
      code: 2,
      stderr: new RegExp(`^qsfs: --repair .* end qsfs \\(process ${first.pid}, mounted at ${at.mount}\\) first$`, 'm'),
    })
    await aKilledDaemonComesBack(at, file, 'SIGUSR2')
    await first.waitForLine(/^qsfs: daemon.exchanged \(daemon: fs\)$/)
    assert.doesNotMatch(first.stderr, /daemon.died/)
    await aKilledDaemonComesBack(at, file, 'SIGKILL')
    assert.equal(await first.stop(), 0, first.stderr)
    await nothingIsLeft(at)
  }
  {
    await using again = start()
    // It waits for what starts.
    await until('something runs', () => instanceOf(at).then(Boolean, () => false))
    await fsckFindsNothing(at)
    await again.waitForLine(/^ready: /)
    assert.doesNotMatch(again.stderr, /master secret/)
    assert.equal(await readFile(file, 'utf8'), 'first')
    await writeFile(file, 'second', { flush: true })
    const { processes } = await instanceOf(at)
    await again.kill9()
    await until('the daemons leave with their supervisor', async () => !processes.some(isRunning))
  }
  {
    await using last = start()
    await last.waitForLine(/^ready: /)
    assert.equal(await readFile(file, 'utf8'), 'second')
    process.kill(last.pid, 'SIGINT')
    // It notes that a moment after it says so.
    const isEnding = () =>
      instanceOf(at).then(
        ({ isStopping }) => isStopping,
        () => true,
      )
    await until('it ends', isEnding)
    // It waits for what ends, and then starts the servers itself.
    await fsckFindsNothing(at)
    assert.equal(await last.exited, 0, last.stderr)
    await nothingIsLeft(at)
  }
  // One that has ended holds the lock a moment longer.
  await using ending = spawnProcess('flock', [join(at.state, 'supervisor.lock'), 'sh', '-c', 'echo held; sleep 1'])
  await ending.waitForLine(/^held$/)
  // Nothing runs: it starts what it needs, as the last start was told to.
  await fsckFindsNothing(at, '--repair')
  assert.match(await readFile(join(at.state, 'config', 'fs.toml'), 'utf8'), /^admin_password_file = /m)
  await nothingIsLeft(at)
  await rm(join(at.state, 'master.key'))
  await using keyless = up(at)
  await refused(keyless, 1, /^qsfs: the master secret .*\/master.key is missing/m, at)
})

async function everythingIsShown({ state, mount }: Place): Promise<void> {
  const { stdout } = await run(launcher, ['status', '--state', state, '--json'])
  const status = JSON.parse(stdout)
  assert.deepEqual([status.state, status.mount, status.allClosedStored], [state, mount, true])
  const names = status.processes.map(({ name }: { name: string }) => name)
  assert.deepEqual(names.sort(), [...[1, 2, 3, 4, 5, 6].map(n => `backend-${n}`), 'cachedb', 'fs', 'stor'])
  assert.deepEqual(
    status.namespaces.map(({ name }: { name: string }) => name).filter((name: string) => name !== 'default'),
    ['data', 'meta'],
  )
  assert.equal(status.stor.k, 4, stdout)
  assert.equal(status.fs.mountpoint, mount, stdout)
  const forPeople = await run(launcher, ['status', '--state', state])
  assert.match(forPeople.stdout, /everything closed is stored/)
  assert.match(forPeople.stdout, /^fs: .* requests from the kernel$/m)
}

async function everythingLeaves({ state, mount }: Place): Promise<void> {
  const unsynced = join(mount, 'unsynced')
  await writeFile(unsynced, Buffer.alloc(200_000, 'x'))
  const synced = await run(launcher, ['sync', '--wait', '--state', state])
  assert.match(synced.stderr, /^qsfs: everything written is stored$/m)
  const { stdout } = await run(launcher, ['status', '--state', state, '--json'])
  const { namespaces, stor } = JSON.parse(stdout)
  const stored = namespaces.flatMap(({ segments }: { segments: { state: string }[] }) =>
    segments.filter(({ state }) => state === 'stored'),
  )
  assert.ok(stored.length >= 2, stdout)
  assert.ok(stor.objectCount >= 2, stdout)
  assert.match((await run(launcher, ['status', unsynced])).stdout, /: dispersed 6\/6, survives 2\n/)
}

async function fsckFindsNothing({ path, state }: Place, ...flags: string[]): Promise<void> {
  const options = { cwd: path, env: { ...process.env, INIT_CWD: path } }
  const { stdout } = await run(launcher, ['fsck', '--state', state, ...flags], options)
  assert.match(stdout, /^\d+ inodes in \d+ records\nclean\n$/)
}

/** All of it is stored by now. */
async function aPathTellsItsState({ state, mount }: Place, file: string): Promise<void> {
  // From elsewhere, and through a link that lies elsewhere.
  const link = join(state, 'link')
  await symlink(file, link)
  const { stdout } = await run(launcher, ['status', link], { cwd: '/', env: { ...process.env, INIT_CWD: '/' } })
  assert.match(stdout, /: dispersed 6\/6, survives 2\n\d+ blocks, .* stored/)
  const whole = await run(launcher, ['status', '--state', state, '--json', mount])
  const { state: said, counts } = JSON.parse(whole.stdout)
  assert.equal(said, 'dispersed 6/6, survives 2', whole.stdout)
  assert.ok(counts.files >= 1 && counts.directories >= 1, whole.stdout)
  await assert.rejects(run(launcher, ['status', '--state', state, join(mount, 'nowhere')]), {
    code: 1,
    stderr: /^qsfs: nothing is known of .*\/nowhere: ENOENT/m,
  })
  await assert.rejects(run(launcher, ['status', '--state', state, '/etc/hostname']), { code: 2 })
}

async function aKilledDaemonComesBack(at: Place, file: string, signal: NodeJS.Signals): Promise<void> {
  const pidOf = async (name: string) => (await instanceOf(at)).processes.find(process => process.name === name)?.pid
  const before = await pidOf('fs')
  process.kill(before!, signal)
  await until('fs runs again', async () => {
    const now = await pidOf('fs')
    return now !== undefined && now !== before && (await readFile(file, 'utf8').catch(() => '')) === 'first'
  })
}

async function nothingIsLeft(at: Place): Promise<void> {
  assert.equal(await isMounted(at.mount), false)
  assert.deepEqual(await readdir(at.mount), [])
  await assert.rejects(stat(join(at.state, 'processes.json')), { code: 'ENOENT' })
  const { stdout } = await run('ps', ['-eo', 'args'])
  const left = stdout.split('\n').filter(line => line.includes(at.state))
  assert.deepEqual(left, [])
}

test('the command says its version, what it can do, and what is missing', async () => {
  await using at = await place()
  assert.match((await run(launcher, ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
  assert.match((await run(launcher, ['stor', '--help'])).stdout, /store/)
  assert.match((await run(launcher, ['doctor', '--state', at.state])).stdout, /\/dev\/fuse +│ ok/)
  const fails = (args: readonly string[]) => run(launcher, args).catch(error => error)
  assert.deepEqual((({ code, stdout }) => [code, stdout])(await fails(['stats'])), [2, ''])
  const idle = await fails(['status', '--state', at.state])
  assert.deepEqual([idle.code, idle.stdout], [1, ''])
  assert.match(idle.stderr, /^qsfs: no qsfs runs on the state .*; start it with `qsfs up --state /m)
})

test('one daemon runs alone with its example, and unknown ones are refused', async () => {
  await using at = await place()
  const options = { cwd: at.path, env: { INIT_CWD: at.path } }
  await using none = spawnProcess(launcher, ['run', 'cachedbb'], options)
  assert.equal(await none.exited, 2)
  assert.match(none.stderr, /^qsfs: cachedbb is no daemon; there are cachedb, stor, fs$/m)
  await using alone = spawnProcess(launcher, ['run', 'cachedb'], options)
  await alone.waitForLine(/server\.ready/)
  assert.equal(await alone.stop(), 0)
  assert.ok((await stat(appMain('cachedb'))).isFile())
})
