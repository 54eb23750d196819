import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middle } from '../middle.ts'
import { atLeast, atMost, type Row, row } from '../row.ts'
import { Cluster } from './cluster.ts'
import { isSameFile, writeRandomFile } from './files.ts'

const rounds = 3

/** What an incompressible file of 1 GiB needs to six backends, on their disks, and back. */
export function transferRows(): Promise<Row[]> {
  return measure(1024)
}

/** The same with a quarter of it, among other benchmarks. */
export function shortTransferRows(): Promise<Row[]> {
  return measure(256)
}

async function measure(fileMiB: number): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using cluster = await Cluster.start(tmp.path)
  const [file, back] = [join(tmp.path, 'random'), join(tmp.path, 'back')]
  await writeRandomFile(file, fileMiB * 2 ** 20)
  const stored: number[] = []
  const retrieved: number[] = []
  const megabytesPerSecond = (ms: number) => (fileMiB * 2 ** 20) / 1e3 / ms
  for (let round = 0; round < rounds; round++) {
    const name = `/bench/${round}`
    stored.push(megabytesPerSecond(await cluster.store(file, name)))
    retrieved.push(megabytesPerSecond(await cluster.retrieve(back, name)))
  }
  assert(await isSameFile(file, back), 'what came back is what was stored')
  console.error(`bench: store ${stored.map(Math.round)}, retrieve ${retrieved.map(Math.round)} MB/s`)
  const name = `${fileMiB} MiB, six backends`
  return [
    row(`stor: store ${name}, synced`, middle(stored), 'MB/s', { target: atLeast(150) }),
    row(`stor: retrieve ${name}, synced`, middle(retrieved), 'MB/s', { target: atLeast(200) }),
    row(`stor: RSS meanwhile, peak`, cluster.storPeakMiB, 'MiB', { target: atMost(300) }),
  ]
}
