import { join } from 'node:path'

/** The repository: four folders up from packages/qsfs/src. */
const root = join(import.meta.dirname, '../../..')

/** The daemons by name. They are run, never imported: qsfs is below them. */
export const appNames = ['cachedb', 'stor', 'fs'] as const
export type AppName = (typeof appNames)[number]

/** What Node is told before the program. stor's bytes lie outside its heap, and what it makes besides is short-lived: with room for
 *  more of that it holds 20 MiB more (measured). */
export const nodeArguments: Readonly<Record<AppName, readonly string[]>> = {
  cachedb: [],
  stor: ['--max-semi-space-size=4'],
  fs: [],
}

/** The program that serves. */
export function appMain(app: AppName): string {
  return join(root, 'apps', app, 'src/main.ts')
}

/** The program that `qsfs <app> …` passes its arguments to: it has commands and help, and becomes the daemon without. */
export function appCommand(app: AppName): string {
  return join(root, 'apps', app, 'src/cli.ts')
}

/** The config with which a daemon runs alone when it is told no other. */
export function appExample(app: AppName): string {
  return join(root, 'apps', app, 'example.toml')
}

/** What cachedb runs when a segment closes or is missed. */
export const hookScript = join(root, 'apps/stor/hooks/qsfs-hook')
