import { formatCount } from '@qsfs/bytes/units'
import type {
  CheckResult,
  DeepCheck,
  DeleteResult,
  DropJobResult,
  JobsResult,
  PlanResult,
  RebuildResult,
  RecoverResult,
  ReloadResult,
  RotateKeyResult,
  StatusResult,
  TestResult,
} from '@qsfs/protocol/stor-control'
import { statusText } from './commands/status-text.ts'
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
export function printAnswer(verb: PrintedVerb, answer: unknown, stdout: Writer, stderr: Writer, nowMs: number): void {
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
      stdout.write(statusText(answer as StatusResult, nowMs))
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
    `${formatCount(objectCount, 'object')}: ${formatCount(verifiedShardCount, 'shard')} read, ${badShardCount} of them bad, ${rebuiltShardCount} written\n`,
    pendingCount === 0 ? '' : `NOT whole: ${formatCount(pendingCount, 'object')}; the daemon goes on with them\n`,
    ...pending.map(({ objectId, reason }) => `  ${objectId}: ${reason}\n`),
  ].join('')
}

function reloadText({ changed, needsRestart }: ReloadResult): string {
  const lines = changed.map(text => `${text}\n`).join('')
  const later = needsRestart.map(key => `${key} changed and takes effect when stor is started again\n`).join('')
  return lines + later || 'nothing changed\n'
}

function jobsText(answer: JobsResult | DropJobResult): string {
  if ('dropped' in answer) return answer.dropped ? 'forgotten\n' : 'there is no such job\n'
  const lines = answer.jobs.map(({ jobId, state, file, attemptCount, nextInMs, lastError }) => {
    const next = nextInMs === null ? '' : `, next in ${Math.ceil(nextInMs / 1000)} s`
    const failed = lastError === '' ? '' : `, ${formatCount(attemptCount, 'attempt')}${next}: ${lastError}`
    return `${jobId}  ${state}  ${file}${failed}\n`
  })
  return lines.length === 0 ? 'nothing waits\n' : lines.join('')
}

function deletionText({ found, objectId, owedBackends }: DeleteResult): string {
  if (!found) return 'nothing to delete\n'
  if (owedBackends.length === 0) return `deleted ${objectId}\n`
  return `deleted ${objectId}; the daemon removes its last pieces when these are back: ${owedBackends.join(', ')}\n`
}

function recoveryText({ valueCount, presentCount, recoveredCount, lostCount, lost, unreadBackends }: RecoverResult) {
  return [
    `${valueCount} values read: ${recoveredCount} records rebuilt, ${presentCount} were there, ${lostCount} could not be\n`,
    ...lost.map(({ objectId, reason }) => `  ${objectId}: ${reason}\n`),
    unreadBackends.length === 0 ? '' : `not read: ${unreadBackends.join(', ')}; run recover again when they are back\n`,
  ].join('')
}
