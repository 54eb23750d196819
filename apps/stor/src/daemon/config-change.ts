import type { BackendConfig, StorConfig } from '../config.ts'

/** What a reload would do. */
export interface ConfigChange {
  /** The new config, with the old values where only a restart can change them. */
  readonly config: StorConfig
  /** A sentence per change; secrets are never in one. */
  readonly changed: readonly string[]
  /** Changes that wait for a restart. */
  readonly needsRestart: readonly string[]
  /** Why the new config cannot be taken over; null when it can. */
  readonly refusal: string | null
}

type Key = keyof StorConfig

/** Who answers at the socket, and who holds the lock, was settled when the daemon started. */
const FIXED: ReadonlySet<string> = new Set([
  'socket',
  'pidFile',
  'lockFile',
  'jobsDirectory',
  'jobsMax',
  'metricsListen',
])
const SECRET: ReadonlySet<string> = new Set(['master'])
const BACKENDS: ReadonlySet<string> = new Set(['groups', 'metaBackends'])

export function compareConfigs(old: StorConfig, wanted: StorConfig): ConfigChange {
  const keys = (Object.keys(wanted) as Key[]).filter(key => key !== 'remarks' && !isSame(old[key], wanted[key]))
  const fixed = keys.filter(key => FIXED.has(key))
  const config = { ...wanted, ...Object.fromEntries(fixed.map(key => [key, old[key]])) }
  const settings = keys.filter(key => !FIXED.has(key) && !BACKENDS.has(key))
  return {
    config,
    changed: [
      ...backendChanges('data', placesOf(old.groups), placesOf(wanted.groups)),
      ...backendChanges('metadata', placesOf([old.metaBackends]), placesOf([wanted.metaBackends])),
      ...settings.flatMap(key => settingChanges(key, old[key], wanted[key])),
    ],
    // The lock's path follows the socket's.
    needsRestart: fixed.filter(key => key !== 'lockFile').map(key => tomlKey(key)),
    refusal: refusalOf(old, wanted),
  }
}

/** Another prefix, or none of the metadata backends: that is another store, which a new one would be made for. */
function refusalOf(old: StorConfig, wanted: StorConfig): string | null {
  if (old.metaPrefix !== wanted.metaPrefix) return 'meta.config.prefix names another store; stop stor to change it'
  const names = new Set(old.metaBackends.map(({ name }) => name))
  if (wanted.metaBackends.some(({ name }) => names.has(name))) return null
  return 'none of the metadata backends is left; exchange them one at a time'
}

interface Place extends BackendConfig {
  readonly group: number
}

function placesOf(groups: readonly (readonly BackendConfig[])[]): Map<string, Place> {
  return new Map(groups.flatMap((backends, group) => backends.map(backend => [backend.name, { ...backend, group }])))
}

function backendChanges(use: string, old: ReadonlyMap<string, Place>, wanted: ReadonlyMap<string, Place>): string[] {
  const gone = [...old.keys()].filter(name => !wanted.has(name)).map(name => `${use} backend ${name} is gone`)
  const others = [...wanted.values()].flatMap(place => {
    const before = old.get(place.name)
    if (before === undefined) return [`${use} backend ${place.name} is new`]
    const fields = (Object.keys(place) as (keyof Place)[]).filter(field => !isSame(before[field], place[field]))
    return fields.map(field => `${use} backend ${place.name}: ${field} changed`)
  })
  return [...gone, ...others]
}

const REDUNDANCY: Readonly<Record<string, string>> = { k: 'minimal_shards', n: 'expected_shards' }

function settingChanges(key: Key, old: unknown, wanted: unknown): string[] {
  if (SECRET.has(key)) return ['the source of the master secret changed']
  if (key === 'groupNames') return namesChanges(old as readonly string[], wanted as readonly string[])
  if (key !== 'redundancy') return [`${tomlKey(key)}: ${JSON.stringify(old)} is now ${JSON.stringify(wanted)}`]
  const [before, after] = [old as Readonly<Record<string, number>>, wanted as Readonly<Record<string, number>>]
  const fields = Object.keys(after).filter(field => before[field] !== after[field])
  return fields.map(field => `${REDUNDANCY[field] ?? tomlKey(field)}: ${before[field]} is now ${after[field]}`)
}

/** A group that is new or gone is told by its backends. */
function namesChanges(old: readonly string[], wanted: readonly string[]): string[] {
  return old.length === wanted.length ? [`the groups are now called ${wanted.join(', ')}`] : []
}

/** backendTimeoutMs is backend_timeout in the file. */
function tomlKey(key: string): string {
  if (key === 'metaDataShards') return 'meta.config.minimal_shards'
  return key.replace(/Ms$/, '').replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
