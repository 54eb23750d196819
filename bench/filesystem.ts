import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startQsfs } from '@qsfs/testkit/qsfs-instance'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { atLeastRatio, type Row, row } from './row.ts'

const run = promisify(execFile)
const workload = new URL('./fsbench.py', import.meta.url).pathname
const rounds = 3

/** The workload on gocryptfs (Debian's package) and on the whole of qsfs, dispersal to six local backends included, taking turns
 *  on the same disk. Each ratio is of one round; the row is the round with the middle ratio. */
export async function rows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using gocryptfs = await mountGocryptfs(tmp.path)
  await using qsfs = await startQsfs(tmp.path, '')
  const measured: Record<string, Record<string, number>>[] = []
  for (let round = 0; round < rounds; round++) {
    const { stdout } = await run('python3', [
      ...[workload, '--mib', '256', '--files', '2000', '--steps', 'write_MBps,read_cold_MBps,create2k'],
      ...[`gocryptfs=${gocryptfs.mount}`, `qsfs=${qsfs.mount}`],
    ])
    console.error(stdout)
    measured.push(JSON.parse(stdout.trimEnd().split('\n').at(-1)!))
    await run('sync')
  }
  const compare = (name: string, step: string, unit: string, bound: number): Row => {
    const pairs = measured.map(figures => ({ ours: figures.qsfs![step]!, theirs: figures.gocryptfs![step]! }))
    const middle = pairs.sort((a, b) => a.ours / a.theirs - b.ours / b.theirs)[(rounds - 1) >> 1]!
    return row(name, middle.ours, unit, {
      against: { name: 'gocryptfs', value: middle.theirs },
      target: atLeastRatio(bound),
    })
  }
  return [
    compare('write 256 MiB with fsync', 'write_MBps', 'MB/s', 0.8),
    compare('cold read of 256 MiB, data local', 'read_cold_MBps', 'MB/s', 0.8),
    compare('create 2,000 files of 2 KiB', 'create2k', 'files/s', 1),
  ]
}

async function mountGocryptfs(directory: string): Promise<AsyncDisposable & { mount: string }> {
  const [cipher, mount, password] = ['cipher', 'plain', 'password'].map(name => join(directory, name)) as [
    string,
    string,
    string,
  ]
  await mkdir(cipher)
  await mkdir(mount)
  await writeFile(password, 'only for a benchmark\n')
  try {
    await run('gocryptfs', ['-init', '-q', '-scryptn', '10', '-passfile', password, cipher])
  } catch (error) {
    throw new Error('gocryptfs did not run; on Debian: apt-get install gocryptfs', { cause: error })
  }
  // It goes to the background, and with '-nosyslog' it would keep our pipes open: `run` would wait for ever.
  await run('gocryptfs', ['-q', '-passfile', password, cipher, mount])
  return { mount, [Symbol.asyncDispose]: async () => void (await run('umount', ['-l', mount])) }
}
