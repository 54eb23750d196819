import { type Mounted, mounted } from '@qsfs/fuse/testing/mounted'
import { NullFilesystem } from '@qsfs/fuse/testing/null-filesystem'
import { atLeastRatio, type Row, row } from './row.ts'

/** What the way through the kernel costs: a filesystem that stores nothing, its callers in another process. */
export async function rows(): Promise<Row[]> {
  await using polling = await mounted(new NullFilesystem(), { pollUs: 100 })
  await using sleeping = await mounted(new NullFilesystem(), { pollUs: 0 })
  // In turns, because what else the machine does comes and goes.
  const polled: number[] = []
  const slept: number[] = []
  for (let round = 0; round < 7; round++) {
    polled.push(await lookupsPerSecond(polling, round))
    slept.push(await lookupsPerSecond(sleeping, round))
  }
  const against = { name: 'lookups/s without polling', value: median(slept) }
  return [
    row('FUSE lookups, polling 100 us', median(polled), 'lookups/s', { against, target: atLeastRatio(2) }),
    row('FUSE lookups, polling 100 us, best of 7', Math.max(...polled), 'lookups/s'),
    row('FUSE 4 KiB buffered writes', await megabytesPerSecond(polling, writes(4096, 64)), 'MB/s'),
    row('FUSE 1 MiB writes', await megabytesPerSecond(polling, writes(MiB, 128)), 'MB/s'),
    row('FUSE 1 MiB reads', await megabytesPerSecond(polling, reads), 'MB/s'),
  ]
}

const MiB = 1024 * 1024

/** Names that nobody asked for before: each stat is one LOOKUP. */
async function lookupsPerSecond(mount: Mounted, round: number): Promise<number> {
  const count = 5000
  const script = `
import os, time
names = ['round${round}_%d' % i for i in range(${count})]
started = time.perf_counter()
for name in names: os.stat(name)
print(${count} / (time.perf_counter() - started))`
  return Number(await mount.python(script))
}

/** One file rewritten, its pages dropped in between: what is measured is the way, not the growth of the page cache. */
function writes(pieceBytes: number, mebibytes: number): string {
  return `
import os, time
piece = b'x' * ${pieceBytes}
for round in range(7):
    started = time.perf_counter()
    file = os.open('written', os.O_CREAT | os.O_WRONLY, 0o644)
    for i in range(${(mebibytes * MiB) / pieceBytes}): os.write(file, piece)
    os.fsync(file)
    print(${(mebibytes * MiB) / 1e6} / (time.perf_counter() - started))
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)`
}

const reads = `
import os, time
buffer = bytearray(${MiB})
for round in range(7):
    file = os.open('read-${128 * MiB}', os.O_RDONLY)
    started = time.perf_counter()
    while os.readv(file, [buffer]) > 0: pass
    print(${(128 * MiB) / 1e6} / (time.perf_counter() - started))
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)`

async function megabytesPerSecond(mount: Mounted, script: string): Promise<number> {
  const rounds = (await mount.python(script)).trim().split('\n').map(Number)
  return median(rounds)
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
}
