import { readdirSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { GiB, MiB, parseSize } from '@qsfs/bytes/units'
import { fromCaller } from '@qsfs/config/caller'
import { type ConfigSection, readSection } from '@qsfs/config/load'
import type { StateDirectory } from './state-directory.ts'
import { keyOnLine } from './toml-lines.ts'

/** Local backends of the embedded default: three groups of two, 4 of 6 shards rebuild; losing a group loses nothing. */
const backendCount = 6
const groupSize = 2

/** Object sizes of local backends are small; they need no memory for values. */
const backendValueCacheBytes = 4 * MiB

/** One daemon and the section it is started with. */
export interface DaemonConfig {
  readonly name: string
  readonly app: 'cachedb' | 'stor' | 'fs'
  readonly section: ConfigSection
  readonly values: Readonly<Record<string, unknown>>
  /** `file:line` in the file of the user, for a line of the file we write; null when the value is ours. */
  userPosition(line: number): string | null
}

/** Everything that `qsfs up` starts, with what it must know to talk to it. */
export interface EffectiveConfig {
  readonly backends: readonly DaemonConfig[]
  readonly stor: DaemonConfig
  readonly cachedb: DaemonConfig
  readonly fs: DaemonConfig
  readonly mountpoint: string
  readonly transport: string
  /** Users other than the one who mounts may enter. */
  readonly isOpenToOthers: boolean
  readonly storSocket: string
  readonly fsSocket: string
  readonly cachedbAddress: string
  /** Absent: everyone may do everything, and its socket is for this user only. */
  readonly cachedbPasswordFile: string | undefined
  readonly cachedbDirectory: string
  readonly cacheBytesMax: number
  /** null when the secret is in the user's own config. */
  readonly masterKeyPath: string | null
}

export interface EffectiveConfigOptions {
  readonly state: StateDirectory
  readonly socketDirectory: string
  /** The script that cachedb runs when a segment closes or is missed. */
  readonly hookPath: string
  /** The user's qsfs.toml. */
  readonly configPath: string | undefined
  /** Flags; they win over the file. */
  readonly mountpoint: string | undefined
  readonly transport: string | undefined
}

/** The embedded default, with the user's file over it and the flags over both.
 *  @throws ConfigError */
export function effectiveConfig(options: EffectiveConfigOptions): EffectiveConfig {
  const { state, socketDirectory, hookPath, configPath } = options
  const socket = (name: string) => join(socketDirectory, `${name}.sock`)
  const userSection = (section: ConfigSection) => (configPath === undefined ? null : readSection(configPath, section))
  const merge = (section: 'cachedb' | 'stor' | 'fs', defaults: Table, flags: Table = {}): DaemonConfig => {
    const user = userSection(section)
    const values = withoutAbsent({ ...defaults, ...user?.values, ...withoutAbsent(flags) })
    const userPosition = (line: number) => {
      const key = keyOnLine(values, line)
      const isUsers = key !== undefined && user !== null && Object.hasOwn(user.values, key) && flags[key] === undefined
      return isUsers ? user.positionOf([key]) : null
    }
    return { name: section, app: section, section, values, userPosition }
  }

  const usersStor = userSection('stor')?.values ?? {}
  const hasOwnBackends = Object.hasOwn(usersStor, 'groups')
  const stor = merge('stor', {
    socket: socket('stor'),
    root: state.cachePath,
    ...(Object.hasOwn(usersStor, 'encryption') ? {} : { master_key_file: state.masterKeyPath }),
    ...(hasOwnBackends ? {} : localStore(socket)),
  })
  const storSocket = pathOf(stor, 'socket')
  const cachedb = merge('cachedb', {
    data_dir: state.cachePath,
    socket: socket('cachedb'),
    cache_bytes: defaultCacheBytes(state),
    hook: hookPath,
    stor_socket: storSocket,
    // fs waits for one answer at a time when somebody waits for an fsync or a read that misses.
    poll_us: 100,
  })
  const cachedbAddress = `unix:${pathOf(cachedb, 'socket')}`
  const typedFs = merge(
    'fs',
    {
      cachedb: cachedbAddress,
      mount: './mnt',
      transport: 'kernel',
      control_socket: socket('fs'),
      stor_socket: storSocket,
      admin_password_file: cachedb.values.admin_password_file,
    },
    { mount: options.mountpoint, transport: options.transport },
  )
  // `qsfs fsck` reads the file from another directory than `qsfs up` was typed in.
  const fs = withAbsolutePaths(typedFs, ['mount', 'control_socket', 'stor_socket', 'admin_password_file'])
  return {
    backends: hasOwnBackends ? [] : range(backendCount).map(index => localBackend(index + 1, state, socket)),
    stor,
    cachedb,
    fs,
    mountpoint: pathOf(fs, 'mount'),
    transport: String(fs.values.transport),
    isOpenToOthers: fs.values.allow_other !== false,
    storSocket,
    fsSocket: pathOf(fs, 'control_socket'),
    cachedbAddress,
    cachedbPasswordFile:
      cachedb.values.admin_password_file === undefined ? undefined : pathOf(cachedb, 'admin_password_file'),
    cachedbDirectory: pathOf(cachedb, 'data_dir'),
    cacheBytesMax: sizeOf(cachedb.values.cache_bytes),
    masterKeyPath: stor.values.master_key_file === undefined ? null : pathOf(stor, 'master_key_file'),
  }
}

type Table = Readonly<Record<string, unknown>>

function localBackend(index: number, state: StateDirectory, socket: (name: string) => string): DaemonConfig {
  const name = `backend-${index}`
  const values = {
    data_dir: state.backendPath(index),
    socket: socket(name),
    pinned_namespaces: [],
    value_cache_bytes: backendValueCacheBytes,
  }
  return { name, app: 'cachedb', section: 'cachedb', values, userPosition: () => null }
}

/** [stor] over the local backends: data shards in sequential namespaces, metadata records 2+4 on all six. */
function localStore(socket: (name: string) => string): Table {
  const backend = (index: number, namespace: string) => ({
    name: `backend-${index + 1} ${namespace}`,
    address: `unix:${socket(`backend-${index + 1}`)}`,
    namespace,
  })
  const groups = range(backendCount / groupSize).map(group => ({
    backends: range(groupSize).map(member => backend(group * groupSize + member, 'data')),
  }))
  return {
    minimal_shards: 4,
    expected_shards: backendCount,
    redundant_groups: 1,
    redundant_nodes: 0,
    create_namespaces: true,
    groups,
    meta: { config: { minimal_shards: 2, backends: range(backendCount).map(index => backend(index, 'meta')) } },
  }
}

/** 10 GiB, or a fifth of what the disk has for us, but never less than a cache can work with: on a small disk the disk is the
 *  limit. What the cache holds already counts as free, so that the limit does not shrink from start to start. */
function defaultCacheBytes({ path, cachePath }: StateDirectory): number {
  const { bavail, bsize } = statfsSync(path)
  const heldBytes = namesBelow(cachePath).reduce((sum, name) => sum + sizeOfFile(join(cachePath, name)), 0)
  const fifth = (bavail * bsize + heldBytes) / 5
  return Math.floor(Math.max(256 * MiB, Math.min(10 * GiB, fifth)) / MiB) * MiB
}

function namesBelow(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' })
  } catch (error) {
    // Before the first start.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

function sizeOfFile(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

function withAbsolutePaths(daemon: DaemonConfig, keys: readonly string[]): DaemonConfig {
  const absolute = Object.entries(daemon.values).map(([key, value]) => [
    key,
    keys.includes(key) && typeof value === 'string' ? fromCaller(value) : value,
  ])
  return { ...daemon, values: Object.fromEntries(absolute) }
}

/** A path value, absolute. What is no text is left for the daemon to refuse with its line. */
function pathOf({ values }: DaemonConfig, key: string): string {
  return fromCaller(String(values[key]))
}

/** For showing only: cachedb refuses what is no size. */
function sizeOf(value: unknown): number {
  if (typeof value !== 'string') return Number(value)
  try {
    return parseSize(value)
  } catch {
    return Number.NaN
  }
}

function withoutAbsent(values: Table): Table {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}
