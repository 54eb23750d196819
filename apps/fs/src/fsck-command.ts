import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { systemClock } from '@qsfs/concurrency/clock'
import { loadSection } from '@qsfs/config/load'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import { isMounted } from '@qsfs/fuse/mount'
import { ErrorText } from '@qsfs/protocol/cachedb-commands'
import { BulkPool } from '@qsfs/resp/bulk-pool'
import { createLog } from '@qsfs/telemetry/log'
import { type FsConfig, fsSchema } from './config.ts'
import { type FsckReport, fsck } from './fsck/fsck.ts'
import { reportText } from './fsck/report.ts'
import { MovedOn } from './fsck/view/log-follower.ts'
import { CachedbOnlooker } from './fsck/view/onlooker.ts'
import { RecordSnapshot } from './fsck/view/record-snapshot.ts'
import { connector, openStore, withServer } from './open-store.ts'
import type { Connect } from './store/cachedb-session.ts'
import { hasText } from './store/resp-errors.ts'

export interface FsckArguments {
  readonly configPath: string
  readonly repair: boolean
  readonly deep: boolean
  readonly json: boolean
  /** Where a scratch file of about the size of the metadata goes; undefined: the system's temporary directory. */
  readonly scratch: string | undefined
}

/** `fs fsck`: checks the configured filesystem through its server, mounted or not.
 *  @returns what is to be printed, and the exit code: 0 nothing is wrong, 1 something is left
 *  @throws ExpectedFailure: it could not be checked */
export async function fsckCommand(typed: FsckArguments): Promise<{ text: string; exitCode: 0 | 1 }> {
  const config = loadSection(fsSchema, { path: typed.configPath, section: 'fs' })
  if (typed.repair && typed.deep) throw new ExpectedFailure(2, '--deep only looks: use it without --repair')
  if (typed.repair && (await isMounted(config.mountpoint))) {
    throw new ExpectedFailure(2, `--repair needs the filesystem for itself: unmount ${config.mountpoint} first`)
  }
  const log = createLog({ name: 'fsck', level: 'warn' })
  const blockMemory = new BulkPool()
  const connect = connector(config, blockMemory)
  const report = await withServer(config, async () => {
    await using onlooker = await connectOnlooker(connect, config)
    return await movedOnAsFailure(
      fsck(onlooker, systemClock, log, {
        snapshot: () => RecordSnapshot.create(typed.scratch ?? tmpdir(), `qsfs-fsck-${randomBytes(8).toString('hex')}`),
        deep: typed.deep,
        openStore: typed.repair ? () => openStore(config, connect, blockMemory, log) : null,
      }),
    )
  })
  const text = typed.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report)
  return { text, exitCode: report.problems.length === 0 ? 0 : 1 }
}

async function connectOnlooker(connect: Connect, { cachedbAddress, namespaces }: FsConfig): Promise<CachedbOnlooker> {
  try {
    return await CachedbOnlooker.connect(connect, namespaces)
  } catch (cause) {
    if (!hasText(cause, ErrorText.namespaceNotFound)) throw cause
    const names = `${namespaces.data} and ${namespaces.meta}`
    const sentence = `there is no filesystem at ${cachedbAddress} yet: the namespaces ${names} are made by the first mount`
    throw new ExpectedFailure(1, sentence, { cause })
  }
}

async function movedOnAsFailure(checking: Promise<FsckReport>): Promise<FsckReport> {
  try {
    return await checking
  } catch (cause) {
    if (!(cause instanceof MovedOn)) throw cause
    throw new ExpectedFailure(1, `nothing was found out: ${cause.message}; try again when it is calmer`, { cause })
  }
}
