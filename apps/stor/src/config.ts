import { createHash, createHmac } from 'node:crypto'
import { MiB } from '@qsfs/bytes/units'
import { fromCaller } from '@qsfs/config/caller'
import { ConfigError, loadSection } from '@qsfs/config/load'
import { duration, listenAddress, path, size } from '@qsfs/config/values'
import { z } from 'zod'
import type { MasterSource } from './master-secret.ts'
import { defaultWriteQuorum, type Redundancy, unkeepable } from './placement.ts'

/** Where a backend is; relative paths count from the caller's directory. @see apps/stor/example.toml */
const address = z
  .string()
  .superRefine((typed, context) => {
    const known = /^(unix:.+|dir:.+|(tls:\/\/)?(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):\d{1,5})$/
    const kinds = '"host:port", "[v6]:port", "tls://host:port", "unix:/path", "dir:/path"'
    if (!known.test(typed)) context.addIssue(`is none of ${kinds}`)
  })
  .transform(typed => typed.replace(/^(unix|dir):(.+)$/, (_, kind, path) => `${kind}:${fromCaller(path)}`))

/** As openssl or we print it: 64 hex digits, colons between them or not. */
const fingerprint = z
  .string()
  .transform(typed => typed.replaceAll(':', '').toLowerCase())
  .refine(digits => /^[0-9a-f]{64}$/.test(digits), 'is not the SHA-256 of a certificate, 64 hex digits')

const backendFields = z.strictObject({
  address,
  /** Of the 0-db server; sequential for data, user mode for metadata. */
  namespace: z.string().min(1).max(128).optional(),
  password: z.string().min(1).max(63).optional(),
  /** Stable name by which records know the backend; moving it to another address then strands nothing. */
  name: z.string().min(1).max(200).optional(),
  /** Its shards move to the other data backends, new ones go there only; then it can be taken out of the config. */
  drain: z.boolean().default(false),
  admin_password_file: path().optional(),
  /** Of an address with tls://: SHA-256 of the server's certificate. That one and no other is trusted then, whoever signed it. */
  tls_fingerprint: fingerprint.optional(),
  /** Instead: the certificates (PEM) of who signs the servers' ones. Without either the system's authorities decide. */
  tls_ca_file: path().optional(),
})
const backendSchema = backendFields.superRefine(({ address, tls_fingerprint, tls_ca_file }, context) => {
  const isGiven = tls_fingerprint !== undefined || tls_ca_file !== undefined
  if (isGiven && !address.startsWith('tls://'))
    context.addIssue('tls_fingerprint and tls_ca_file need an address tls://…')
  if (tls_fingerprint !== undefined && tls_ca_file !== undefined) {
    context.addIssue('tls_fingerprint trusts one certificate, tls_ca_file all of an authority: give one of them')
  }
})
const encryption = z.strictObject({
  algorithm: z.literal('AES'),
  key: z.string().regex(/^[0-9a-fA-F]{64}$/, 'is not 64 hex digits'),
})
const count = (min: number, max: number) => z.int().min(min).max(max)

/** [stor]: zstor's own keys, and ours below them. */
const storSchema = z.strictObject({
  /** k: how many shards rebuild an object. */
  minimal_shards: count(1, 255),
  /** n: how many are stored, each on another backend. */
  expected_shards: count(1, 255),
  /** Whole groups that may be lost. */
  redundant_groups: count(0, 255).default(1),
  /** Backends of each remaining group that may be lost with them. */
  redundant_nodes: count(0, 255).default(0),
  /** So many shards must be on their backends' disks for an object to count as stored: between k + 1 and n. What is missing
   *  is owed, and written when its backend is back. k and half of what may be lost, unless given. */
  write_quorum: count(1, 255).optional(),
  /** Stripped from the front of names; "" is none, as quantumd writes it. */
  root: z.union([z.literal('').transform(() => undefined), path()]).optional(),
  /** The control socket; clients find the daemon there. */
  socket: path().optional(),
  pid_file: path().optional(),
  /** Where stores that nobody waits for are kept until they are done; beside the socket unless told: then on a disk, please,
   *  if the socket's directory does not outlive a reboot. */
  jobs_directory: path().optional(),
  /** How many of them are taken. */
  jobs_max: count(1, 1_000_000).default(10_000),
  /** What fails together. A name is for people; without one it is the number, from 1 on. */
  groups: z
    .array(z.strictObject({ name: z.string().min(1).max(100).optional(), backends: z.array(backendSchema).min(1) }))
    .min(1),
  meta: z.strictObject({
    type: z.literal('zdb').default('zdb'),
    config: z.strictObject({
      /** First part of every record's key: several stores can share a metadata namespace. */
      prefix: z.string().max(64).default(''),
      encryption: encryption.optional(),
      /** How many shards rebuild a record; as many as there are backends are stored. */
      minimal_shards: count(1, 255).optional(),
      backends: z.array(backendSchema).min(1).max(255),
    }),
  }),
  /** zstor: the key in the file. Ours: master_key_file. */
  encryption: encryption.optional(),
  /** Stripes are tried with zstd, and kept compressed where that pays; "none": not tried, for what is known not to shrink. zstor's
   *  only word, "snappy", means zstd too. */
  compression: z.strictObject({ algorithm: z.enum(['snappy', 'zstd', 'none']) }).optional(),
  zdb_data_dir_path: z.string().optional(),
  max_zdb_data_dir_size: z.union([z.number(), z.string()]).optional(),
  zdbfs_mountpoint: z.string().optional(),
  /** `GET /metrics` over plain HTTP. zstor answers on every interface, we on 127.0.0.1 unless `metrics_listen` says more. */
  prometheus_port: count(1, 65_535).optional(),

  /** The master secret, mode 0600; made on the first start of a new store. "/dev/stdin": typed or piped in at each start. */
  master_key_file: path().optional(),
  /** Name of an environment variable with the text of such a file. */
  master_key_env: z.string().min(1).optional(),
  /** Instead of a key: a file (mode 0600, or "/dev/stdin") with a passphrase, which argon2id turns into the secret. */
  master_passphrase_file: path().optional(),
  /** Name of an environment variable with the passphrase. */
  master_passphrase_env: z.string().min(1).optional(),
  /** A namespace that a backend lacks is created, and so is the directory of a `dir:` backend when stor starts. For
   *  backends that are only ours, and directories where no disk is to be mounted. */
  create_namespaces: z.boolean().default(false),
  /** Uploads and downloads at once; downloads go first. */
  stores_max: count(1, 64).default(2),
  retrieves_max: count(1, 64).default(4),
  /** Plain bytes of a file that become one stripe. At k = 1 a whole one, sealed, must fit a 0-db value of 8 MiB. */
  frame_bytes: size({ min: 64 * 1024, max: 4 * MiB }).default(MiB),
  /** Stripes in memory at once: what an upload costs in memory, whatever its size. */
  frames_in_flight: count(1, 64).default(8),
  /** Decode every stripe once more before it leaves. Costs a third of the encoding speed. */
  verify_encode: z.boolean().default(true),
  connect_timeout: duration({ min: 50 }).default(3000),
  /** A backend that has not answered by then counts as silent. */
  backend_timeout: duration({ min: 50 }).default(10_000),
  health_check_interval: duration({ min: 20 }).default(3000),
  /** A backend that has failed its checks for so long is called down: nothing waits for it any more. */
  down_after: duration({ min: 0 }).default(10_000),
  /** One that is down must have answered every check for so long before it is up again; one that keeps falling for twice as
   *  long each time, ten minutes at most. As long as `down_after`, unless given. */
  up_after: duration({ min: 0 }).optional(),
  /** The shards of a data backend that has been down for so long are rebuilt on others, where that keeps the promise; what it
   *  still has when it comes back is removed. 0: it is waited for, for ever. */
  rebuild_after: duration({ min: 0 }).default(60 * 60 * 1000),
  /** So much of a data backend is kept free of new shards, for records beside them and for repair; at most a twentieth of its
   *  size, where that is known. One with less is full. */
  backend_reserve: size({ min: 0 }).default(100 * MiB),
  /** What repair and scrub may read and write together; readers go first all the same. */
  repair_bytes_per_second: size({ min: 64 * 1024 }).default(64 * MiB),
  /** The part of a core that repair and scrub may take for coding and checking; moving bytes is limited by the bytes. */
  repair_cpu: z.number().min(0.01).max(16).default(0.5),
  /** Objects that are repaired at once. */
  repair_concurrency: count(1, 16).default(2),
  /** Every shard is read and checked once in this time. */
  scrub_period: duration({ min: 1000 }).default(30 * 24 * 60 * 60 * 1000),
  /** Instead of `prometheus_port`: "host:port"; ":port" is of this machine only. There is no password, and addresses and
   *  names of backends are told, nothing of files. */
  metrics_listen: listenAddress('127.0.0.1').optional(),
  /** Pieces that no record names are left alone for so long; an upload gives up after half a day. */
  orphan_grace: duration({ min: 13 * 60 * 60 * 1000 }).default(24 * 60 * 60 * 1000),
})
type StorSection = z.output<typeof storSchema>

export interface BackendConfig {
  readonly name: string
  readonly address: string
  readonly namespace: string
  readonly password: string | null
  readonly adminPasswordFile: string | null
  readonly tlsFingerprint: string | null
  readonly tlsCaFile: string | null
  readonly drain: boolean
}

export interface StorConfig {
  readonly redundancy: Redundancy
  readonly writeQuorum: number
  readonly metaDataShards: number
  readonly metaPrefix: string
  readonly metaBackends: readonly BackendConfig[]
  readonly groups: readonly (readonly BackendConfig[])[]
  /** One for each of them. */
  readonly groupNames: readonly string[]
  readonly root: string | null
  readonly socket: string | null
  readonly pidFile: string | null
  /** The lock that the daemon, or a command without a daemon, holds. */
  readonly lockFile: string | null
  /** Null where no daemon can run. */
  readonly jobsDirectory: string | null
  readonly jobsMax: number
  readonly master: MasterSource
  readonly createNamespaces: boolean
  readonly storesMax: number
  readonly retrievesMax: number
  readonly frameBytes: number
  readonly framesInFlight: number
  readonly compress: boolean
  readonly verifyEncode: boolean
  readonly connectTimeoutMs: number
  readonly backendTimeoutMs: number
  readonly healthCheckIntervalMs: number
  readonly downAfterMs: number
  readonly upAfterMs: number
  readonly rebuildAfterMs: number
  readonly backendReserveBytes: number
  readonly repairBytesPerSecond: number
  readonly repairCpu: number
  readonly repairConcurrency: number
  readonly scrubPeriodMs: number
  readonly orphanGraceMs: number
  /** Null: no metrics are served. */
  readonly metricsListen: { readonly host: string; readonly port: number } | null
  /** Keys of a zstor file that were read and have no effect, with the reason. */
  readonly remarks: readonly string[]
}

/** Reads and checks [stor].
 *  @throws ConfigError, also for a promise that no placement could keep */
export function loadStorConfig(
  file: string | undefined,
  overrides: Readonly<Record<string, unknown>> = {},
): StorConfig {
  const section = loadSection(storSchema, { path: file, section: 'stor', overrides })
  const fail = (key: string, text: string): never => {
    throw new ConfigError(`${file ?? 'flags'}: [stor] ${key}: ${text}`)
  }
  const redundancy = {
    k: section.minimal_shards,
    n: section.expected_shards,
    redundantGroups: section.redundant_groups,
    redundantNodes: section.redundant_nodes,
  }
  const groups = section.groups.map(({ backends }) => backends.map(toBackend))
  const metaBackends = section.meta.config.backends.map(toBackend)
  const reason = unkeepable(
    groups.map(group => group.filter(({ drain }) => !drain).length),
    redundancy,
  )
  if (reason !== null) fail('groups', reason)
  const writeQuorum = section.write_quorum ?? defaultWriteQuorum(redundancy.k, redundancy.n)
  if (writeQuorum <= redundancy.k || writeQuorum > redundancy.n) {
    const why = writeQuorum > redundancy.n ? 'there are no more shards' : 'fewer leave nothing that may be lost'
    fail('write_quorum', `${writeQuorum} is not between ${redundancy.k + 1} and ${redundancy.n}: ${why}`)
  }
  if (metaBackends.some(({ drain }) => drain)) fail('meta.config.backends', 'drain is for data backends')
  for (const [key, backends] of [
    ['groups', groups.flat()],
    ['meta.config.backends', metaBackends],
  ] as const) {
    const twice = duplicateOf(backends)
    if (twice !== null) fail(key, `${twice} is there twice; shards on one place are lost together`)
  }
  const metaDataShards =
    section.meta.config.minimal_shards ?? Math.min(2, Math.max(1, Math.floor(metaBackends.length / 2)))
  if (metaDataShards > metaBackends.length)
    fail('meta.config.minimal_shards', `is more than the ${metaBackends.length} backends`)
  const masters = masterSourcesOf(section)
  if (masters.length === 0) {
    fail('master_key_file', 'is missing: the file that holds the master secret, or will on the first start')
  }
  if (masters.length > 1) fail('master_key_file', 'the master secret is in one place: a file, a variable, a passphrase')
  return {
    redundancy,
    writeQuorum,
    metaDataShards,
    metaPrefix: section.meta.config.prefix,
    metaBackends,
    groups,
    groupNames: section.groups.map(({ name }, i) => name ?? String(i + 1)),
    root: section.root ?? null,
    socket: section.socket ?? null,
    pidFile: section.pid_file ?? null,
    lockFile: section.socket === undefined ? null : `${section.socket}.lock`,
    jobsDirectory: section.socket === undefined ? null : (section.jobs_directory ?? `${section.socket}.jobs`),
    jobsMax: section.jobs_max,
    master: masters[0]!,
    createNamespaces: section.create_namespaces,
    storesMax: section.stores_max,
    retrievesMax: section.retrieves_max,
    frameBytes: section.frame_bytes,
    framesInFlight: section.frames_in_flight,
    compress: section.compression?.algorithm !== 'none',
    verifyEncode: section.verify_encode,
    connectTimeoutMs: section.connect_timeout,
    backendTimeoutMs: section.backend_timeout,
    healthCheckIntervalMs: section.health_check_interval,
    downAfterMs: section.down_after,
    upAfterMs: section.up_after ?? section.down_after,
    rebuildAfterMs: section.rebuild_after,
    backendReserveBytes: section.backend_reserve,
    repairBytesPerSecond: section.repair_bytes_per_second,
    repairCpu: section.repair_cpu,
    repairConcurrency: section.repair_concurrency,
    scrubPeriodMs: section.scrub_period,
    orphanGraceMs: section.orphan_grace,
    metricsListen: metricsListenOf(section),
    remarks: remarksOn(section),
  }
}

function toBackend(backend: z.output<typeof backendSchema>): BackendConfig {
  const namespace = backend.namespace ?? (backend.address.startsWith('dir:') ? '' : 'default')
  return {
    name: backend.name ?? [backend.address, namespace].filter(part => part !== '').join(' '),
    address: backend.address,
    namespace,
    password: backend.password ?? null,
    adminPasswordFile: backend.admin_password_file ?? null,
    tlsFingerprint: backend.tls_fingerprint ?? null,
    tlsCaFile: backend.tls_ca_file ?? null,
    drain: backend.drain,
  }
}

function duplicateOf(backends: readonly BackendConfig[]): string | null {
  const seen = new Set<string>()
  for (const { name, address, namespace } of backends) {
    for (const identity of new Set([name, `${address} ${namespace}`.trim()])) {
      if (seen.has(identity)) return identity
      seen.add(identity)
    }
  }
  return null
}

/** Our own keys go before zstor's `encryption`, which may stay in the file. */
function masterSourcesOf(section: StorSection): MasterSource[] {
  const { master_key_file, master_key_env, master_passphrase_file, master_passphrase_env } = section
  const ours: readonly (MasterSource | null)[] = [
    master_key_file === undefined ? null : { kind: 'file', path: master_key_file },
    master_key_env === undefined ? null : { kind: 'environment', variable: master_key_env },
    master_passphrase_file === undefined ? null : { kind: 'passphrase-file', path: master_passphrase_file },
    master_passphrase_env === undefined ? null : { kind: 'passphrase-environment', variable: master_passphrase_env },
  ]
  const given = ours.filter(source => source !== null)
  const key = masterKeyOf(section)
  return given.length === 0 && key !== null ? [{ kind: 'inline', key }] : given
}

/** zstor has two keys, one of which it read and never used; with ours both are needed when they differ. */
function masterKeyOf({ encryption, meta }: StorSection): Buffer | null {
  if (encryption === undefined) return null
  const key = Buffer.from(encryption.key, 'hex')
  const metaKey = meta.config.encryption?.key
  if (metaKey === undefined || metaKey.toLowerCase() === encryption.key.toLowerCase()) return key
  return createHmac('sha256', key).update('qsfs 1 zstor keys').update(Buffer.from(metaKey, 'hex')).digest()
}

function metricsListenOf({ metrics_listen, prometheus_port }: StorSection): StorConfig['metricsListen'] {
  if (metrics_listen !== undefined) return metrics_listen
  return prometheus_port === undefined ? null : { host: '127.0.0.1', port: prometheus_port }
}

function remarksOn(section: StorSection): string[] {
  const remarks: readonly (readonly [boolean, string])[] = [
    [section.compression?.algorithm === 'snappy', 'compression.algorithm: frames use zstd, snappy is not written'],
    [
      section.zdb_data_dir_path !== undefined,
      'zdb_data_dir_path: cachedb keeps its own directory small; of other servers stor deletes nothing',
    ],
    [section.zdbfs_mountpoint !== undefined, 'zdbfs_mountpoint: the filesystem tells its own numbers'],
    [
      section.prometheus_port !== undefined && section.metrics_listen !== undefined,
      'prometheus_port: metrics_listen is there, and goes before it',
    ],
  ]
  return remarks.filter(([applies]) => applies).map(([, text]) => text)
}

/** Where the lock is when there is no socket to put it beside: one per set of metadata backends. */
export function lockFileOf(config: StorConfig, temporaryDirectory: string): string {
  const members = config.metaBackends.map(({ name }) => name).sort()
  const identity = createHash('sha256')
    .update([config.metaPrefix, ...members].join('\n'))
    .digest('hex')
    .slice(0, 16)
  return config.lockFile ?? `${temporaryDirectory}/qsfs-stor-${identity}.lock`
}
