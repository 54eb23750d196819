/** The main job on real input: a tree is copied onto the mount, leaves for six backends, two of them are lost, and all of it is
 *  read back; then every daemon is killed in turn while files are written. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { appendFile, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { type QsfsInstance, startQsfs } from '@qsfs/testkit/qsfs-instance'
import { spawnProcess } from '@qsfs/testkit/spawn'
import { type TemporaryDirectory, temporaryDirectory } from '@qsfs/testkit/tmp'

const run = promisify(execFile)
const root = new URL('../..', import.meta.url).pathname
const script = (name: string) => new URL(name, import.meta.url).pathname

const segmentBytes = 8 * 1024 * 1024
const cacheBytes = 96 * 1024 * 1024
const config = `
[cachedb]
segment_bytes = "8MiB"
cache_bytes = "96MiB"
`

describe('the main job', { timeout: 540_000 }, () => {
  let tmp: TemporaryDirectory
  let qsfs: QsfsInstance
  let source: string

  before(async () => {
    tmp = await temporaryDirectory()
    source = join(tmp.path, 'source')
    await makeSource(source)
    qsfs = await startQsfs(tmp.path, config)
  })
  after(async () => {
    await qsfs?.[Symbol.asyncDispose]()
    await tmp?.[Symbol.asyncDispose]()
  })

  test('a real tree is copied onto the mount', async t => {
    const { stdout } = await run('sh', ['-c', 'find . | wc -l; du -sm --apparent-size .'], { cwd: source })
    const [entries, megabytes] = stdout.split('\n').map(line => Number.parseInt(line, 10))
    t.diagnostic(`${entries} entries, ${megabytes} MiB`)
    assert(entries! >= 3_000 && megabytes! >= 300, `the source is too small: ${stdout}`)
    await run('cp', ['-a', source, join(qsfs.mount, 'copy')])
    await run('sync', ['-f', qsfs.mount])
  })

  test('everything closed is stored, and the cache obeys its limit', async t => {
    const status = await qsfs.waitFor(
      'everything closed is stored',
      s => s.allClosedStored && localBytes(s) <= cacheBytes,
    )
    const segments = status.namespaces.flatMap(namespace => namespace.segments)
    const absent = segments.filter(segment => segment.state === 'absent')
    t.diagnostic(`${segments.length} segments, ${absent.length} of them absent`)
    assert(absent.length > 10, 'most of the tree has left the local disk')
    assert((await dataBytesOnDisk(status.cachedb.dataDirectory)) <= cacheBytes + segmentBytes, 'files on disk')
  })

  test('two backends are lost and every byte is read back', async () => {
    const { processes } = await qsfs.status()
    for (const name of ['backend-2', 'backend-5']) {
      const backend = processes.find(process => process.name === name)
      assert(backend, `${name} runs`)
      process.kill(backend.pid, 'SIGKILL')
      // Renamed first: what is started again in its place must find nothing.
      const directory = join(qsfs.state, 'backends', name.slice('backend-'.length))
      await rename(directory, `${directory}.lost`)
      await rm(`${directory}.lost`, { recursive: true })
    }
    await writeFile('/proc/sys/vm/drop_caches', '3')
    const [want, got] = await Promise.all([manifest(source), manifest(join(qsfs.mount, 'copy'))])
    assert.equal(got.length, want.length, 'entries')
    assert.deepEqual(got.filter((line, index) => line !== want[index]).slice(0, 20), [], 'lines that differ')
  })

  for (const name of ['fs', 'cachedb', 'stor', 'backend-1'])
    test(`kill -9 of ${name} during writes loses nothing that was fsynced`, async t => {
      const { processes } = await qsfs.status()
      const victim = processes.find(process => process.name === name)
      assert(victim, `${name} runs`)
      const directory = join(qsfs.mount, `writes-${name}`)
      await mkdir(directory)
      const acknowledged = await writeAcross(directory, async () => void process.kill(victim.pid, 'SIGKILL'))
      t.diagnostic(`${acknowledged.length} files acknowledged`)
      await writeFile('/proc/sys/vm/drop_caches', '3')
      const list = join(tmp.path, `acknowledged-${name}`)
      await appendFile(list, acknowledged.join('\n'))
      await run('sh', ['-c', `python3 "$0" "$1" < "$2"`, script('fsync-check.py'), directory, list])
    })

  test('SIGTERM flushes, unmounts and exits 0; a second start continues', async () => {
    assert.equal(await qsfs.supervisor.stop(), 0)
    await assert.rejects(stat(join(qsfs.mount, 'copy')), { code: 'ENOENT' })
    qsfs = await startQsfs(tmp.path, config)
    const [want, got] = await Promise.all([
      manifest(join(source, 'marked')),
      manifest(join(qsfs.mount, 'copy', 'marked')),
    ])
    assert.deepEqual(got, want)
  })
})

/** Every package that the project itself installed, a 100 MB file that does not compress, and a few things packages lack. */
async function makeSource(path: string): Promise<void> {
  await mkdir(join(path, 'marked', 'empty'), { recursive: true })
  await run('sh', [
    '-c',
    'tar -cf - --exclude="node-linux-*" -C "$0" . | tar -xf - -C "$1"',
    join(root, 'node_modules/.pnpm'),
    path,
  ])
  const commands = [
    'head -c 104857600 /dev/urandom > random.bin',
    'cd marked',
    'printf one > a; ln a b; ln -s a c; ln -s /nowhere/at/all dangling; mkfifo pipe; chmod 4751 a; chmod 1777 empty',
    'truncate -s 7340033 sparse; printf end | dd of=sparse bs=1 seek=5242880 conv=notrunc status=none',
    `name=$(printf 'n%.0s' $(seq 255)); printf long > "$name"; printf x > "$(printf 'caf\\351')"`,
    'setfattr -n user.color -v blue a; setfattr -n user.empty empty',
    'touch -d "1999-12-31 23:59:59.123456789 UTC" a; touch -h -d "2001-02-03 04:05:06.7 UTC" c; touch -d @1 empty',
  ]
  await run('sh', ['-ec', commands.join('\n')], { cwd: path })
}

async function manifest(directory: string): Promise<string[]> {
  const { stdout } = await run('python3', [script('tree-manifest.py'), directory], { maxBuffer: 256 << 20 })
  return stdout.split('\n')
}

/** Writes files until some time after `disturb`, and returns the numbers of those whose fsync said yes. */
async function writeAcross(directory: string, disturb: () => Promise<void>): Promise<string[]> {
  await using writer = spawnProcess('python3', [script('fsync-writer.py'), directory, '1'])
  await writer.waitForLine(/^30$/)
  await disturb()
  const last = () => Number(writer.stdout.trimEnd().split('\n').at(-1))
  const reached = last() + 60
  while (last() < reached) {
    await new Promise(resolve => setTimeout(resolve, 100))
    if (writer.stderr.length > 1_000_000) throw new Error(`the mount never came back: ${writer.stderr.slice(-300)}`)
  }
  await writer.kill9()
  return writer.stdout.trimEnd().split('\n')
}

function localBytes(status: Awaited<ReturnType<QsfsInstance['status']>>): number {
  return status.cachedb.localDataBytes
}

async function dataBytesOnDisk(directory: string): Promise<number> {
  const names = (await readdir(directory, { recursive: true })).filter(name => /(^|\/)d[0-9]+$/.test(name))
  const sizes = await Promise.all(names.map(async name => (await stat(join(directory, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
