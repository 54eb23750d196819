import type { HostedNamespace } from '../engine/namespaces.ts'
import type { Session } from '../session.ts'
import { ownNamespaceLines, ownSections } from './own-info.ts'

/** The text of INFO, line for line as 0-db's, then our own. There are no index files, so their counters stay 0. */
export function serverInfo(session: Session): string {
  const { stats, clock } = session.server
  const { bytesRead, bytesWritten } = stats.traffic()
  const nowSeconds = Math.floor(clock.nowMs() / 1000)
  const sections = {
    server: [
      ['server_name', '0-db (zdb)'],
      ['server_revision', '2.0.7'],
      ['engine_revision', '2.0.7'],
      ['instance_id', stats.instanceId],
      ['boot_time', stats.bootSeconds],
      ['uptime', nowSeconds - stats.bootSeconds],
    ],
    clients: [['clients_lifetime', stats.clientsLifetime()]],
    internals: [
      ['sequential_key_size', 8],
      ['data_version', 3],
      ['index_version', 4],
    ],
    stats: [
      ['commands_executed', stats.commandsExecuted],
      ['commands_failed', stats.commandsFailed],
      ['commands_unauthorized', stats.commandsUnauthorized],
      ['index_disk_read_failed', 0],
      ['index_disk_write_failed', 0],
      ['data_disk_read_failed', stats.disk.readsFailed],
      ['data_disk_write_failed', stats.disk.writesFailed],
      ...bytesLines('index_disk_read', 0),
      ...bytesLines('index_disk_write', 0),
      ...bytesLines('data_disk_read', stats.disk.bytesRead),
      ...bytesLines('data_disk_write', stats.disk.bytesWritten),
      ...bytesLines('network_rx', bytesRead),
      ...bytesLines('network_tx', bytesWritten),
    ],
    ...ownSections(session),
  }
  return Object.entries(sections)
    .map(([name, lines]) => `# ${name}\n${lines.map(([key, value]) => `${key}: ${value}\n`).join('')}`)
    .join('\n')
}

/** The text of NSINFO, line for line as 0-db's; then, for admins, what is ours. */
export function namespaceInfoText(
  { namespace, lock, dataErrors, lastDataErrorSeconds }: HostedNamespace,
  session: Session,
): string {
  const { settings } = namespace
  const now = namespace.info()
  const spaceAvailable = Math.max(0, settings.maxBytes - now.dataBytes)
  const lines: (readonly [string, string | number])[] = [
    ['name', namespace.name],
    ['entries', now.entries],
    ['public', yesNo(settings.public)],
    ['worm', yesNo(settings.worm)],
    ['locked', yesNo(lock !== 'unlocked')],
    ['password', yesNo(settings.password !== '')],
    ['data_size_bytes', now.dataBytes],
    ['data_size_mb', inMebibytes(now.dataBytes)],
    ['data_limits_bytes', settings.maxBytes],
    ['index_size_bytes', now.keydirBytes],
    ['index_size_kb', (now.keydirBytes / 1024).toFixed(2)],
    ['next_internal_id', swappedId(now.nextId)],
    ['mode', settings.mode === 'sequential' ? 'sequential' : 'userkey'],
    ['stats_index_io_errors', 0],
    ['stats_index_io_error_last', 0],
    ['stats_index_faults', 0],
    ['stats_data_io_errors', dataErrors],
    ['stats_data_io_error_last', lastDataErrorSeconds],
    ['stats_data_faults', 0],
    ...(settings.maxBytes > 0 ? [['space_available', spaceAvailable] as const] : []),
    ['index_disk_freespace_bytes', now.freeBytes],
    ['index_disk_freespace_mb', inMebibytes(now.freeBytes)],
    ['data_disk_freespace_bytes', now.freeBytes],
    ['data_disk_freespace_mb', inMebibytes(now.freeBytes)],
    ...(session.isMaster && settings.password !== ''
      ? [['password_raw', Buffer.from(settings.password, 'latin1').toString()] as const]
      : []),
  ]
  if (session.isAdmin) {
    lines.push(
      ['data_path', namespace.directory],
      ['data_active', now.activePath],
      ['index_path', namespace.directory],
      ['index_active', now.activeHintPath],
      ['data_current_id', now.activeSegmentId],
      ['data_current_offset', now.activeBytes],
      ...ownNamespaceLines(namespace, session),
    )
  }
  return `# namespace\n${lines.map(([key, value]) => `${key}: ${value}\n`).join('')}`
}

function bytesLines(name: string, bytes: number): [string, string | number][] {
  return [
    [`${name}_bytes`, bytes],
    [`${name}_mb`, inMebibytes(bytes)],
  ]
}

function inMebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(2)
}

function yesNo(value: boolean): string {
  return value ? 'yes' : 'no'
}

/** 0-db prints the id byte-swapped and loses a leading zero digit, which its own filesystem cannot read; so all 16 digits,
 *  but 0 as it prints it. */
function swappedId(id: number): string {
  if (id === 0) return '0x00000000'
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(id))
  return `0x${bytes.toString('hex')}`
}
