import { readFileSync, writeFileSync } from 'node:fs'
import type { StateDirectory } from './state-directory.ts'

/** Keeps the path of the user's config for a `qsfs fsck` that is told none; absent: there was none. */
export function noteUserConfig({ lastConfigPath }: StateDirectory, configPath: string | undefined): void {
  writeFileSync(lastConfigPath, `${JSON.stringify({ configPath })}\n`, { mode: 0o600 })
}

/** The config of the last start; undefined: none, or there was no start yet. */
export function lastUserConfig({ lastConfigPath }: StateDirectory): string | undefined {
  try {
    return (JSON.parse(readFileSync(lastConfigPath, 'utf8')) as { readonly configPath?: string }).configPath
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
