import { formatCount, formatDuration, formatSize } from '@qsfs/bytes/units'
import type { BackendStatus, JobsStatus, RepairStatus, StatusResult } from '@qsfs/protocol/stor-control'
import Table from 'cli-table3'

/** The status for people. */
export function statusText(status: StatusResult, nowMs: number): string {
  const { k, n, metaK, metaN, metaWriteQuorum } = status
  const of = (use: BackendStatus['use']) => status.backends.filter(backend => backend.use === use)
  return [
    `metadata: any ${metaK} of ${metaN} rebuild a record, ${metaWriteQuorum} must confirm one\n`,
    table(of('meta')),
    ...troubleLines(of('meta'), nowMs),
    `\ndata: any ${k} of ${n} rebuild an object\n`,
    table(of('data')),
    ...troubleLines(of('data'), nowMs),
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

/** Reasons that are told; --json has more. */
const REASONS_SHOWN = 5

function repairLines(repair: RepairStatus | null): string[] {
  if (repair === null) return []
  const {
    pendingCount,
    doneCount,
    runningCount,
    thinnestMargin,
    reasons,
    etaMs,
    rebuiltShardCount,
    failedCount,
    scrub,
  } = repair
  const survey = repair.surveyed ? '' : ' (records are still being looked through)'
  const eta = etaMs === null ? '' : `, ${formatDuration(Math.ceil(etaMs / 1000) * 1000)} left if nothing hinders it`
  const pending =
    pendingCount === 0
      ? `nothing is pending${survey}`
      : `${formatCount(pendingCount, 'object')} pending${survey}, ${doneCount} done of ${doneCount + pendingCount}, ${runningCount} at work${eta}; the thinnest survives ${thinnestMargin} more ${thinnestMargin === 1 ? 'loss' : 'losses'}`
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')
  const { removedCount, youngCount, unknownCount } = repair.orphans
  return [
    `repair: ${pending}; since the start ${formatCount(rebuiltShardCount, 'shard')} written, ${formatCount(failedCount, 'attempt')} failed\n`,
    ...reasons.slice(0, REASONS_SHOWN).map(({ reason, count }) => `  ${count}: ${reason}\n`),
    scrub === null
      ? ''
      : `scrub: ${(scrub.doneRatio * 100).toFixed(1)} % of the round that ends ${day(scrub.endsMs)} UTC; ` +
        `since the start ${formatCount(scrub.verifiedShardCount, 'shard')} read, ${scrub.badShardCount} bad\n`,
    removedCount + youngCount + unknownCount === 0
      ? ''
      : `orphans: ${formatCount(removedCount, 'piece')} removed, ${youngCount} too young to tell, ${unknownCount} not ours\n`,
  ]
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

function upkeepLines({ otherDaemonSeenMs, fillingBackends, laggingBackends, rewrapping }: StatusResult): string[] {
  return [
    otherDaemonSeenMs === null
      ? ''
      : `ANOTHER stor works on this store (last seen ${new Date(otherDaemonSeenMs).toISOString().slice(0, 19)}Z): stop one of them\n`,
    fillingBackends.length === 0 ? '' : `metadata: being filled: ${fillingBackends.join(', ')}\n`,
    laggingBackends.length === 0
      ? ''
      : `metadata: may lack records, or hold damaged ones, and is being compared: ${laggingBackends.join(', ')}\n`,
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
    return `${formatCount(marginLocations, 'more data backend')} may be lost (by what answers; shards are not read for this)`
  if (marginLocations === 0) return 'NONE: the next data backend that is lost makes objects unreadable'
  return 'BELOW ZERO: some objects cannot be read until backends are back'
}

/** What a listener between us and the backend is up against. */
function linkText({ address, tls, passwordsSent }: BackendStatus): string {
  if (/^(unix|dir):/.test(address)) return 'local'
  if (tls !== null) return `${tls.version} ${tls.group}`
  return { none: 'clear', hashed: 'clear, password hashed', clear: 'clear, PASSWORD TOO' }[passwordsSent]
}

/** An error is told for so long; --json has it for ever. */
const ERROR_SHOWN_MS = 60 * 60 * 1000

/** A line for each backend that is, or was lately, not well. */
function troubleLines(backends: readonly BackendStatus[], nowMs: number): string[] {
  return backends.flatMap(backend => {
    const { name, health, reachable, sinceMs, upInMs, fallCount, note } = backend
    const { givenUp, errorCount, lastError, lastErrorMs } = backend
    const ago = (ms: number) => formatDuration(Math.max(1000, Math.round((nowMs - ms) / 1000) * 1000))
    const up =
      upInMs === null ? '' : `; answers, and is up in ${formatDuration(Math.ceil(upInMs / 1000) * 1000)} if it goes on`
    const falls = fallCount > 1 ? ` (${fallCount} times since the start)` : ''
    const moving = givenUp ? '; its shards are rebuilt elsewhere, where that keeps the promise' : ''
    // Errors begin with the backend that they are about, as these lines do.
    const bare = (text: string) => (text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text)
    const why = note === '' ? '' : `: ${bare(note)}`
    const down = health === 'down' ? [`  ${name}: down for ${ago(sinceMs)}${falls}${up}${moving}${why}\n`] : []
    const silent = health !== 'down' && !reachable ? [`  ${name}: its last check failed${why}\n`] : []
    const isNews = lastErrorMs !== null && nowMs - lastErrorMs < ERROR_SHOWN_MS && lastError !== note
    const errors = formatCount(errorCount, 'failed request')
    return [
      ...down,
      ...silent,
      ...(isNews ? [`  ${name}: ${errors}, the last ${ago(lastErrorMs)} ago: ${bare(lastError)}\n`] : []),
    ]
  })
}

/** zstor's columns, with units, and how long an answer takes. */
function table(backends: readonly BackendStatus[]): string {
  const columns = [
    'backend',
    'group',
    'reachable',
    'objects',
    'used space',
    'free space',
    'usage',
    'answers in',
    'link',
  ]
  const output = new Table({
    head: [...columns, 'confirms mean'],
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right', 'right', 'right', 'left', 'left'],
    style: { head: [], border: [], compact: true },
  })
  for (const backend of backends) {
    const { name, groupName, reachable, entryCount, usedBytes, freeBytes, durability, latencyMs } = backend
    const known = (value: string) => (reachable ? value : '-')
    const size = (bytes: number | null) => (bytes === null ? '-' : formatSize(bytes))
    const usage =
      usedBytes === null || freeBytes === null || usedBytes + freeBytes === 0
        ? null
        : usedBytes / (usedBytes + freeBytes)
    output.push([
      name,
      groupName,
      stateText(backend),
      known(String(entryCount)),
      known(size(usedBytes)),
      known(size(freeBytes)),
      known(usage === null ? '-' : `${(usage * 100).toFixed(1)} %`),
      known(latencyMs === null ? '-' : formatDuration(latencyMs)),
      known(linkText(backend)),
      known({ disk: 'on its disk', memory: 'in its memory', unknown: 'not known (no FSYNC)' }[durability]),
    ])
  }
  return `${output.toString()}\n`
}

function stateText({ reachable, health, full, note }: BackendStatus): string {
  if (!reachable) return `No (${health})`
  if (health === 'down') return 'Yes, coming up'
  if (full) return 'Yes, but full'
  return note === '' ? 'Yes' : `Yes, but ${note}`
}
