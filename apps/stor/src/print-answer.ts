import { formatDuration, formatSize } from '@qsfs/bytes/units'
import type {
  BackendStatus,
  CheckResult,
  DeepCheck,
  DeleteResult,
  DropJobResult,
  JobsResult,
  JobsStatus,
  PlanResult,
  RebuildResult,
  RecoverResult,
  ReloadResult,
  RepairStatus,
  RotateKeyResult,
  StatusResult,
  TestResult,
} from '@qsfs/protocol/stor-control'
import Table from 'cli-table3'
import type { VerbName } from './commands/verbs.ts'
import { planText } from './plan/plan-text.ts'

type PrintedVerb = Exclude<VerbName, 'store'>
interface Writer {
  write(text: string): unknown
}

/** 1 when the answer says that something is wrong. */
export function exitCodeOf(verb: PrintedVerb, answer: unknown): 0 | 1 {
  if (verb === 'test') return (answer as TestResult).ok ? 0 : 1
  if (verb === 'jobs' && 'dropped' in (answer as DropJobResult)) return (answer as DropJobResult).dropped ? 0 : 1
  if (verb === 'check') return (answer as CheckResult).deep?.ok === false ? 1 : 0
  if (verb === 'rebuild' && (answer as RebuildResult).pendingCount > 0) return 1
  return 0
}

/** Writes an answer for people. */
export function printAnswer(verb: PrintedVerb, answer: unknown, stdout: Writer, stderr: Writer): void {
  switch (verb) {
    case 'retrieve':
      return
    case 'check': {
      // As zstor: the checksum and nothing else, or nothing at all; scripts compare it.
      const { found, checksum, deep } = answer as CheckResult
      if (deep !== undefined) {
        stdout.write(deepText(deep))
        return
      }
      if (found) stdout.write(`${checksum}\n`)
      stderr.write(
        found
          ? 'by its record: its shards were not verified by this, --deep does that\n'
          : 'no metadata found: entity not found; nothing is stored under this name\n',
      )
      return
    }
    case 'delete':
      stdout.write(deletionText(answer as DeleteResult))
      return
    case 'jobs':
      stdout.write(jobsText(answer as JobsResult | DropJobResult))
      return
    case 'rebuild':
      stdout.write(rebuildText(answer as RebuildResult))
      return
    case 'plan':
      stdout.write(planText(answer as PlanResult))
      return
    case 'reload':
      stdout.write(reloadText(answer as ReloadResult))
      return
    case 'status':
      stdout.write(statusText(answer as StatusResult))
      return
    case 'recover':
      stdout.write(recoveryText(answer as RecoverResult))
      return
    case 'rotate-key': {
      const { rootKeyCount } = answer as RotateKeyResult
      stdout.write(`done; the store has ${rootKeyCount} root ${rootKeyCount === 1 ? 'key' : 'keys'}\n`)
      return
    }
    case 'test': {
      for (const { ok, subject, text } of (answer as TestResult).lines) {
        stdout.write(`${ok ? 'ok  ' : 'FAIL'}  ${subject}: ${text}\n`)
      }
      return
    }
    default:
      verb satisfies never
  }
}

function deepText({ ok, goodShardCount, dataShards, shards }: DeepCheck): string {
  const lines = shards.map(({ index, backend, state, goodPieceCount, wrongPieceCount, missingPieceCount }) => {
    const pieces = `${goodPieceCount} pieces good, ${wrongPieceCount} wrong, ${missingPieceCount} missing`
    const texts = {
      good: `good, ${goodPieceCount} pieces`,
      bad: `BAD: ${pieces}`,
      owed: 'OWED: it is not there yet',
      'no-backend': 'LOST: the config has this backend no more',
      unavailable: 'NOT READ: its backend does not answer',
    }
    return `shard ${index} on ${backend}: ${texts[state]}\n`
  })
  const margin = goodShardCount - dataShards
  const end = ok
    ? `all good: ${margin} of its ${shards.length} shards may be lost\n`
    : margin >= 0
      ? `readable: ${goodShardCount} shards are good, ${dataShards} are needed, ${margin} more may be lost\n`
      : `only ${goodShardCount} whole shards are there, and ${dataShards} are needed\n`
  return lines.join('') + end
}

function rebuildText(result: RebuildResult): string {
  const { objectCount, verifiedShardCount, badShardCount, rebuiltShardCount, pendingCount, pending } = result
  return [
    `${objectCount} objects: ${verifiedShardCount} shards read, ${badShardCount} of them bad, ${rebuiltShardCount} written\n`,
    pendingCount === 0 ? '' : `NOT whole: ${pendingCount} objects; the daemon goes on with them\n`,
    ...pending.map(({ objectId, reason }) => `  ${objectId}: ${reason}\n`),
  ].join('')
}

function reloadText({ changed, needsRestart }: ReloadResult): string {
  const lines = changed.map(text => `${text}\n`).join('')
  const later = needsRestart.map(key => `${key} changed and takes effect when stor is started again\n`).join('')
  return lines + later || 'nothing changed\n'
}

/** Reasons that are told; --json has more. */
const REASONS_SHOWN = 5

function repairLines(repair: RepairStatus | null): string[] {
  if (repair === null) return []
  const { pendingCount, runningCount, thinnestMargin, reasons, etaMs, rebuiltShardCount, failedCount, scrub } = repair
  const survey = repair.surveyed ? '' : ' (records are still being looked through)'
  const eta = etaMs === null ? '' : `, ${formatDuration(Math.ceil(etaMs / 1000) * 1000)} left if nothing hinders it`
  const pending =
    pendingCount === 0
      ? `nothing is pending${survey}`
      : `${pendingCount} objects pending${survey}, ${runningCount} at work${eta}; the thinnest survives ${thinnestMargin} more losses`
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')
  const { removedCount, youngCount, unknownCount } = repair.orphans
  return [
    `repair: ${pending}; since the start ${rebuiltShardCount} shards written, ${failedCount} attempts failed\n`,
    ...reasons.slice(0, REASONS_SHOWN).map(({ reason, count }) => `  ${count}: ${reason}\n`),
    scrub === null
      ? ''
      : `scrub: ${(scrub.doneRatio * 100).toFixed(1)} % of the round that ends ${day(scrub.endsMs)} UTC; ` +
        `since the start ${scrub.verifiedShardCount} shards read, ${scrub.badShardCount} bad\n`,
    removedCount + youngCount + unknownCount === 0
      ? ''
      : `orphans: ${removedCount} pieces removed, ${youngCount} too young to tell, ${unknownCount} not ours\n`,
  ]
}

function jobsText(answer: JobsResult | DropJobResult): string {
  if ('dropped' in answer) return answer.dropped ? 'forgotten\n' : 'there is no such job\n'
  const lines = answer.jobs.map(({ jobId, state, file, attemptCount, nextInMs, lastError }) => {
    const next = nextInMs === null ? '' : `, next in ${Math.ceil(nextInMs / 1000)} s`
    const failed = lastError === '' ? '' : `, ${attemptCount} attempts${next}: ${lastError}`
    return `${jobId}  ${state}  ${file}${failed}\n`
  })
  return lines.length === 0 ? 'nothing waits\n' : lines.join('')
}

/** '' when there is nothing to say. */
function jobsSummary(jobs: JobsStatus | null): string {
  if (jobs === null) return ''
  const { waitingCount, runningCount, failingCount, lastError, damagedFiles } = jobs
  const damaged = damagedFiles.map(path => `jobs: ${path} is damaged: its job is not done\n`).join('')
  if (waitingCount + runningCount === 0) return damaged
  const failing = failingCount === 0 ? '' : `; ${failingCount} failed and are tried again, last: ${lastError}`
  return `jobs: ${waitingCount} wait, ${runningCount} are done now${failing} (stor jobs lists them)\n${damaged}`
}

function deletionText({ found, objectId, owedBackends }: DeleteResult): string {
  if (!found) return 'nothing to delete\n'
  if (owedBackends.length === 0) return `deleted ${objectId}\n`
  return `deleted ${objectId}; the daemon removes its last pieces when these are back: ${owedBackends.join(', ')}\n`
}

export function statusText(status: StatusResult): string {
  const { k, n, metaK, metaN, metaWriteQuorum } = status
  const of = (use: BackendStatus['use']) => status.backends.filter(backend => backend.use === use)
  return [
    `metadata: any ${metaK} of ${metaN} rebuild a record, ${metaWriteQuorum} must confirm one\n`,
    table(of('meta')),
    `\ndata: any ${k} of ${n} rebuild an object\n`,
    table(of('data')),
    '\n',
    `objects: ${status.objectCount ?? 'not known now'}${thinText(status.thinObjectCount)}\n`,
    `margin: ${marginText(status.marginLocations)}\n`,
    ...repairLines(status.repair),
    ...upkeepLines(status),
    status.writable ? 'storing: possible\n' : `storing: NOT possible: ${status.reason}\n`,
    status.daemon
      ? `running: ${status.storesRunning} stores, ${status.retrievesRunning} retrieves\n`
      : 'no daemon runs\n',
    jobsSummary(status.jobs),
  ].join('')
}

function recoveryText({ valueCount, presentCount, recoveredCount, lostCount, lost, unreadBackends }: RecoverResult) {
  return [
    `${valueCount} values read: ${recoveredCount} records rebuilt, ${presentCount} were there, ${lostCount} could not be\n`,
    ...lost.map(({ objectId, reason }) => `  ${objectId}: ${reason}\n`),
    unreadBackends.length === 0 ? '' : `not read: ${unreadBackends.join(', ')}; run recover again when they are back\n`,
  ].join('')
}

function upkeepLines({ fillingBackends, rewrapping }: StatusResult): string[] {
  return [
    fillingBackends.length === 0 ? '' : `metadata: being filled: ${fillingBackends.join(', ')}\n`,
    rewrapping === null
      ? ''
      : `keys: ${rewrapping.doneCount} of ${rewrapping.totalCount} records sealed under the new root key\n`,
  ]
}

function thinText(thinObjectCount: number | null): string {
  return thinObjectCount
    ? `, ${thinObjectCount} of them lack shards: they survive fewer losses until they are repaired`
    : ''
}

function marginText(marginLocations: number): string {
  if (marginLocations > 0)
    return `${marginLocations} more data backends may be lost (by what answers; shards are not read for this)`
  if (marginLocations === 0) return 'NONE: the next data backend that is lost makes objects unreadable'
  return 'BELOW ZERO: some objects cannot be read until backends are back'
}

/** zstor's columns, with units. */
function table(backends: readonly BackendStatus[]): string {
  const head = ['backend', 'group', 'reachable', 'objects', 'used space', 'free space', 'usage', 'confirms mean']
  const output = new Table({
    head,
    colAligns: ['left', 'right', 'left', 'right', 'right', 'right', 'right', 'left'],
    style: { head: [], border: [], compact: true },
  })
  for (const backend of backends) {
    const { name, group, reachable, health, entryCount, usedBytes, freeBytes, durability, note } = backend
    const state = reachable
      ? health === 'down'
        ? 'Yes, coming up'
        : note === ''
          ? 'Yes'
          : `Yes, but ${note}`
      : `No (${health}): ${note}`
    const known = (value: string) => (reachable ? value : '-')
    const size = (bytes: number | null) => (bytes === null ? '-' : formatSize(bytes))
    const usage =
      usedBytes === null || freeBytes === null || usedBytes + freeBytes === 0
        ? null
        : usedBytes / (usedBytes + freeBytes)
    output.push([
      name,
      group === 0 ? '' : String(group),
      state,
      known(String(entryCount)),
      known(size(usedBytes)),
      known(size(freeBytes)),
      known(usage === null ? '-' : `${(usage * 100).toFixed(1)} %`),
      known({ disk: 'on its disk', memory: 'in its memory', unknown: 'not known (no FSYNC)' }[durability]),
    ])
  }
  return `${output.toString()}\n`
}
