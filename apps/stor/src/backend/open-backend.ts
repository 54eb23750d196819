import { mkdirSync, readFileSync } from 'node:fs'
import { MiB } from '@qsfs/bytes/units'
import type { Clock, RandomSource } from '@qsfs/concurrency/clock'
import { ConfigError } from '@qsfs/config/load'
import type { BackendConfig, StorConfig } from '../config.ts'
import type { Backend, RecordBackend } from './backend.ts'
import { Cutoff } from './cutoff.ts'
import { DecoratedBackend, DecoratedRecordBackend } from './decorated-backend.ts'
import { DirectoryBackend, DirectoryRecordBackend } from './directory-backend.ts'
import { Limiter } from './limit.ts'
import { type BackendMetrics, Meter } from './measure.ts'
import { Retrier } from './retry.ts'
import type { Vitals } from './vitals.ts'
import { ZdbBackend } from './zdb/zdb-backend.ts'
import type { ZdbAddress } from './zdb/zdb-link.ts'
import { ZdbRecordBackend } from './zdb/zdb-record-backend.ts'

/** What one backend is asked at a time: 8 MiB in flight hide the round trip at 10 ms up to 800 MB/s. */
const LIMITS = { putBytesMax: 8 * MiB, readsMax: 32 }

/** The one place that stacks the decorators. Nothing is connected yet.
 *  @throws ConfigError when a file that the config names cannot be read, or a directory not be made */
export function openBackend(
  backend: BackendConfig,
  config: StorConfig,
  clock: Clock,
  random: RandomSource,
  metrics: BackendMetrics,
  vitals: Vitals,
): Backend {
  const raw = isDirectory(backend)
    ? new DirectoryBackend(backend.name, directoryOf(backend, config))
    : new ZdbBackend(backend.name, zdbAddress(backend), linkOptions(config))
  const meter = new Meter(backend.name, 'data', clock, metrics, vitals)
  const cutoff = new Cutoff(backend.name, clock, vitals, { answerWithinMs: config.backendTimeoutMs })
  const retrier = new Retrier(clock, random, vitals, { attemptsMax: 3 })
  return new DecoratedBackend(raw, [meter, cutoff, retrier, new Limiter(LIMITS)])
}

/** As `openBackend`, for metadata: the quorum has its own patience, so one more attempt is enough. */
export function openRecordBackend(
  backend: BackendConfig,
  config: StorConfig,
  clock: Clock,
  random: RandomSource,
  metrics: BackendMetrics,
  vitals: Vitals,
): RecordBackend {
  // A namespace with a prefix is shared with other stores, which would take it from each other.
  const owner = config.metaPrefix === '' ? { ownerId: random(8).toString('hex') } : {}
  const raw = isDirectory(backend)
    ? new DirectoryRecordBackend(backend.name, directoryOf(backend, config))
    : new ZdbRecordBackend(backend.name, zdbAddress(backend), { ...linkOptions(config), ...owner })
  const meter = new Meter(backend.name, 'meta', clock, metrics, vitals)
  const cutoff = new Cutoff(backend.name, clock, vitals, { answerWithinMs: config.backendTimeoutMs })
  return new DecoratedRecordBackend(raw, [meter, cutoff, new Retrier(clock, random, vitals, { attemptsMax: 2 })])
}

const isDirectory = ({ address }: BackendConfig) => address.startsWith('dir:')

/** Made now or never: one that goes away later is a disk that went away. */
function directoryOf({ address }: BackendConfig, { createNamespaces }: StorConfig): string {
  const path = address.slice('dir:'.length)
  if (!createNamespaces) return path
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new ConfigError(`[stor] ${address} cannot be made: ${(error as Error).message}`, { cause: error })
  }
  return path
}

function linkOptions({ createNamespaces, connectTimeoutMs, backendTimeoutMs }: StorConfig) {
  return { createNamespace: createNamespaces, connectTimeoutMs, commandTimeoutMs: backendTimeoutMs }
}

function zdbAddress(backend: BackendConfig): ZdbAddress {
  const { address, namespace, password, adminPasswordFile, tlsFingerprint, tlsCaFile } = backend
  return {
    address,
    tls: {
      ...(tlsFingerprint === null ? {} : { certificateSha256: tlsFingerprint }),
      ...(tlsCaFile === null ? {} : { authorities: readSetting('tls_ca_file', tlsCaFile) }),
    },
    namespace,
    ...(password === null ? {} : { namespacePassword: password }),
    ...(adminPasswordFile === null
      ? {}
      : { adminPassword: readSetting('admin_password_file', adminPasswordFile).split('\n')[0] ?? '' }),
  }
}

function readSetting(key: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`[stor] ${key} ${path} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}
