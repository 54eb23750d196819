import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startQsfs } from '@qsfs/testkit/qsfs-instance'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middleBy } from '../middle.ts'
import { atLeastRatio, failedRow, type Row, row } from '../row.ts'
import { type Figures, figureOf, runFsbench } from './fsbench.ts'
import { mountGocryptfs } from './gocryptfs.ts'

const run = promisify(execFile)
const rounds = 3

/** The steps of fsbench.py: unit, and how much of gocryptfs's figure it takes. */
const steps = {
  write_MBps: ['MB/s', 0.9],
  read_cold_MBps: ['MB/s', 1],
  randread4k: ['reads/s', 0.7],
  randwrite4k: ['writes/s', 2],
  fsync4k: ['fsyncs/s', 0.7],
  create2k: ['files/s', 1.5],
  stat_cold: ['files/s', 2],
  ls_l: ['files/s', 1],
  read_small_cold: ['files/s', 1],
  unlink: ['files/s', 1],
  untar_files: ['files/s', 1.5],
  diff_cold_files: ['files/s', 1],
  rmtree_files: ['files/s', 1.5],
} as const
type Step = keyof typeof steps

/** Every step, each followed by what the disk below does of it. */
export async function workloadRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  const { stdout } = await run('findmnt', ['--noheadings', '--output', 'FSTYPE', '--target', tmp.path])
  const bare = { name: stdout.trim(), directory: join(tmp.path, 'bare') }
  await mkdir(bare.directory)
  return await compare(tmp.path, Object.keys(steps) as Step[], bare)
}

/** Some steps. */
export async function comparedRows(chosen: readonly Step[]): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  return await compare(tmp.path, chosen, null)
}

/** The workload on gocryptfs and on the whole of qsfs, dispersal to six local backends included, taking turns on the same disk,
 *  step by step. Each ratio is of one round; the row is the round with the middle ratio. */
async function compare(
  directory: string,
  chosen: readonly Step[],
  bare: { readonly name: string; readonly directory: string } | null,
): Promise<Row[]> {
  await using gocryptfs = await mountGocryptfs(directory)
  await using qsfs = await startQsfs(directory, '')
  const places = {
    ...(bare && { [bare.name]: bare.directory }),
    gocryptfs: gocryptfs.mount,
    qsfs: qsfs.mount,
  }
  const measured: Figures[] = []
  for (let round = 0; round < rounds; round++) {
    measured.push(await runFsbench(chosen, places))
    await run('sync')
  }
  return chosen.flatMap(step => rowsOf(step, measured, bare?.name ?? null))
}

function rowsOf(step: Step, measured: readonly Figures[], bare: string | null): Row[] {
  const figure = (round: Figures, place: string): number => figureOf(round, place, step)
  const [unit, bound] = steps[step]
  try {
    const middle = middleBy(measured, round => figure(round, 'qsfs') / figure(round, 'gocryptfs'))
    const against = { name: 'gocryptfs', value: figure(middle, 'gocryptfs') }
    const compared = row(step, figure(middle, 'qsfs'), unit, { against, target: atLeastRatio(bound) })
    return bare === null ? [compared] : [compared, row(`${step}, ${bare} alone`, figure(middle, bare), unit)]
  } catch (error) {
    return [failedRow(step, error)]
  }
}
