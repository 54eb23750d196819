import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { BackendConfig, StorConfig } from '../config.ts'

/** What the files said that backends' settings name, by a sentence's beginning: the config stays the same when only their
 *  contents change. Digests: one of them holds a password. */
export type NamedFiles = ReadonlyMap<string, string>

const FILES = ['tlsCaFile', 'adminPasswordFile'] as const

/** Reads them all. One that cannot be read differs from one that can; who needs it says why. */
export function readNamedFiles({ groups, metaBackends }: StorConfig): NamedFiles {
  const of = (use: string, backends: readonly BackendConfig[]) =>
    backends.flatMap(backend =>
      FILES.flatMap(key => {
        const path = backend[key]
        return path === null ? [] : [[`${use} backend ${backend.name}: what ${key} names`, digestOf(path)] as const]
      }),
    )
  return new Map([...of('data', groups.flat()), ...of('metadata', metaBackends)])
}

/** A sentence for each that was there and is another now. */
export function changedFiles(old: NamedFiles, now: NamedFiles): string[] {
  return [...now].flatMap(([what, digest]) => (old.has(what) && old.get(what) !== digest ? [`${what} changed`] : []))
}

function digestOf(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex')
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}
