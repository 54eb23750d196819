import { execFileSync, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { formatSize, GiB } from '@qsfs/bytes/units'
import { fromCaller } from '@qsfs/config/caller'
import { ExpectedFailure } from '@qsfs/daemon/failure'
import Table from 'cli-table3'
import { hookScript } from './apps.ts'
import { whyNoFuse, whyNoMount } from './preflight.ts'

export interface DoctorOptions {
  readonly state: string
}

interface Finding {
  readonly what: string
  /** needed: without it `qsfs up` does not work. useful: something else is missing. */
  readonly weight: 'needed' | 'useful'
  /** null: all right; else what is missing and what to do. */
  readonly problem: string | null
}

/** `qsfs doctor`: looks at what this machine offers, changes nothing.
 *  @throws ExpectedFailure when something needed is missing */
export function doctor({ state }: DoctorOptions): void {
  const findings = examine(fromCaller(state))
  const table = new Table({ head: ['what', '', 'to do'], style: { head: [], border: [], compact: true } })
  for (const { what, weight, problem } of findings) {
    table.push([what, problem === null ? 'ok' : weight === 'needed' ? 'MISSING' : 'absent', problem ?? ''])
  }
  process.stdout.write(`${table.toString()}\n`)
  const missing = findings.filter(({ weight, problem }) => weight === 'needed' && problem !== null)
  if (missing.length > 0) throw new ExpectedFailure(1, `missing: ${missing.map(({ what }) => what).join(', ')}`)
}

function examine(statePath: string): Finding[] {
  const needed = (what: string, problem: string | null): Finding => ({ what, weight: 'needed', problem })
  const useful = (what: string, problem: string | null): Finding => ({ what, weight: 'useful', problem })
  return [
    needed('/dev/fuse', whyNoFuse()),
    needed('flock(1)', hasProgram('flock') ? null : 'install util-linux'),
    needed('mount(8), umount(8)', hasProgram('mount') && hasProgram('umount') ? null : 'install mount'),
    needed('state directory', whyNotWritable(statePath)),
    needed('disk space', whyNoSpace(statePath)),
    needed('hook script', isExecutable(hookScript) ? null : `${hookScript} is not executable: chmod +x it`),
    useful('privilege to mount', whyNoMount()),
    useful('fusermount3 or fusermount', hasFusermount() ? null : 'install fuse3; only for --transport fuse-native'),
    useful('libfuse2', hasLibrary('libfuse.so.2') ? null : 'install libfuse2; only for --transport fuse-native'),
  ]
}

function hasFusermount(): boolean {
  return hasProgram('fusermount3') || hasProgram('fusermount')
}

function hasProgram(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined
}

function hasLibrary(name: string): boolean {
  const ldconfig = ['/sbin/ldconfig', '/usr/sbin/ldconfig'].find(path => existsSync(path))
  return ldconfig !== undefined && execFileSync(ldconfig, ['-p'], { encoding: 'utf8' }).includes(name)
}

function whyNotWritable(path: string): string | null {
  const existing = nearestExisting(path)
  return isAccessible(existing, constants.W_OK | constants.X_OK)
    ? null
    : `${existing} cannot be written to; choose another --state`
}

/** Room for meta, six segments of 32 MiB, and the shards of as much. */
function whyNoSpace(path: string): string | null {
  const { bavail, bsize } = statfsSync(nearestExisting(path))
  const freeBytes = bavail * bsize
  return freeBytes >= 2 * GiB
    ? null
    : `only ${formatSize(freeBytes)} are free at ${path}; have at least ${formatSize(2 * GiB)}`
}

function nearestExisting(path: string): string {
  return existsSync(path) ? path : nearestExisting(dirname(path))
}

function isExecutable(path: string): boolean {
  return isAccessible(path, constants.X_OK)
}

function isAccessible(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}
