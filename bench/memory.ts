import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startQsfs } from '@qsfs/testkit/qsfs-instance'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { peakMiB } from './peak-memory.ts'
import { atMost, type Row, row } from './row.ts'

/** The most memory that fs ever held while 2 GiB were written through the mount, segments leaving meanwhile. */
export async function rows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using qsfs = await startQsfs(tmp.path, '')
  await promisify(execFile)('dd', [
    'if=/dev/urandom',
    `of=${join(qsfs.mount, 'big')}`,
    'bs=1M',
    'count=2048',
    'conv=fsync',
    'status=none',
  ])
  const { processes } = await qsfs.status()
  const peakOf = (name: string) => peakMiB(processes.find(process => process.name === name)!.pid)
  return [
    row('fs: RSS while writing 2 GiB, peak', peakOf('fs'), 'MiB', { target: atMost(400) }),
    row('stor: RSS meanwhile, peak', peakOf('stor'), 'MiB', { target: atMost(300) }),
    row('cachedb: RSS meanwhile, peak', peakOf('cachedb'), 'MiB'),
  ]
}
