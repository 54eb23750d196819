import { type Histogram, Metrics } from '@qsfs/telemetry/metrics'

/** Of the data files. */
export interface DiskStats {
  bytesRead: number
  bytesWritten: number
  readsFailed: number
  writesFailed: number
  syncsFailed: number
  /** Seconds. */
  readonly syncs: Histogram
}

/** One command in so many is timed: a prime, for clients repeat themselves. */
const timedEach = 61
/** More than there are rows in the table of commands. */
const rowsMax = 128
const commandBuckets = [0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]
const syncBuckets = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]

/** What INFO tells. */
export class ServerStats {
  commandsExecuted = 0
  /** Unknown commands. */
  commandsFailed = 0
  commandsUnauthorized = 0
  /** By the command's row in the table. Counted for each command, so plain numbers. */
  readonly executed = new Float64Array(rowsMax)
  /** The same of those answered with an error. */
  readonly refused = new Float64Array(rowsMax)
  /** Seconds of every 61st command, by name. */
  readonly commandSeconds: Histogram
  #untilTimed = timedEach
  readonly disk: DiskStats
  readonly metrics: Metrics
  readonly bootSeconds: number
  readonly instanceId: number
  /** Connections closed by us because their client stood still. */
  clientsDropped = 0
  /** Asked when INFO is: the server that counts them is made after its sessions' state. */
  clientsLifetime: () => number = () => 0
  clients: () => number = () => 0
  /** Memory of the process. */
  residentBytes: () => number = () => 0
  traffic: () => { readonly bytesRead: number; readonly bytesWritten: number } = () => ({
    bytesRead: 0,
    bytesWritten: 0,
  })

  constructor(bootSeconds: number, instanceId: number, metrics = new Metrics()) {
    this.bootSeconds = bootSeconds
    this.instanceId = instanceId
    this.metrics = metrics
    const timed = `Time of commands, of one in ${timedEach}`
    this.commandSeconds = metrics.histogram('qsfs_cachedb_command_seconds', timed, commandBuckets, ['command'])
    const syncs = metrics.histogram('qsfs_cachedb_sync_seconds', 'Time of syncs of data files', syncBuckets)
    this.disk = { bytesRead: 0, bytesWritten: 0, readsFailed: 0, writesFailed: 0, syncsFailed: 0, syncs }
  }

  /** Counts a command. @returns whether it is one that shall be timed */
  count(row: number): boolean {
    this.commandsExecuted++
    this.executed[row]!++
    if (--this.#untilTimed > 0) return false
    this.#untilTimed = timedEach
    return true
  }
}
