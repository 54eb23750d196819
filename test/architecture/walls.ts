/** The walls of the house. Each function looks at sources and returns what is wrong, one sentence each; none at all is right. */
import { dirname } from 'node:path'
import { isTest, roomOf, type SourceFile } from './source-file.ts'

/** Imports between packages go down only; an app is above all of them. */
export const levelOfPackage: Readonly<Record<string, number>> = {
  bytes: 0,
  concurrency: 0,
  erasure: 0,
  crypto: 0,
  telemetry: 0,
  protocol: 0,
  resp: 1,
  fuse: 1,
  config: 1,
  daemon: 2,
  qsfs: 3,
}

/** Inside an app arrows point down, at run time. A file beside main.ts stands as high as the highest it uses: wiring on
 *  top, errors and pure functions at the bottom. */
const rankOfFolder: Readonly<Record<string, number>> = {
  ops: 2,
  fsck: 2,
  state: 2,
  commands: 2,
  control: 2,
  engine: 1,
  tree: 1,
  block: 1,
  pipeline: 1,
  repair: 1,
  segment: 0,
  store: 0,
  backend: 0,
  metadata: 0,
}
export function importsAcrossRooms(sources: readonly SourceFile[]): string[] {
  return eachImport(sources, (file, { specifier, target }) => {
    const room = roomOf(file.path)
    if (room === 'test' || room === 'bench') return null
    if (target !== null && roomOf(target) !== room)
      return `reaches into ${roomOf(target)} by a path; import @qsfs/… instead`
    const imported = /^@qsfs\/([^/]+)/.exec(specifier)?.[1]
    if (imported === undefined) return null
    if (imported === 'testkit') return isTest(file) ? null : 'imports the testkit, which is for tests'
    const level = levelOfPackage[imported]
    if (level === undefined) return `imports ${imported}, which is an app or no room of ours`
    const own = levelOfPackage[room.replace('packages/', '')]
    const isUp = room.startsWith('packages/') && own !== undefined && level >= own && !isTest(file)
    return isUp ? `imports ${imported} of level ${level}, and is of level ${own} itself` : null
  })
}

export function importsUpInsideApps(sources: readonly SourceFile[]): string[] {
  const ranks = ranksOf(sources)
  return eachImport(sources, (file, { target, isTypeOnly }) => {
    if (!file.path.startsWith('apps/') || isTest(file) || target === null || isTypeOnly) return null
    const isUp = (ranks.get(target) ?? 0) > (ranks.get(file.path) ?? 0)
    return isUp ? `imports ${target}, which is above it` : null
  })
}

function ranksOf(sources: readonly SourceFile[]): Map<string, number> {
  const files = new Map(sources.map(file => [file.path, file]))
  const ranks = new Map<string, number>()
  const rankOf = (path: string): number => {
    const known = ranks.get(path)
    if (known !== undefined) return known
    const folder = path.split('/')[3] ?? ''
    // Until it is known, so that a cycle ends; cycles are another wall's business.
    ranks.set(path, rankOfFolder[folder] ?? 0)
    const used = (files.get(path)?.imports ?? []).filter(({ target, isTypeOnly }) => target !== null && !isTypeOnly)
    const highest = Math.max(0, ...used.map(({ target }) => rankOf(target!)))
    ranks.set(path, rankOfFolder[folder] ?? highest)
    return ranks.get(path)!
  }
  for (const path of files.keys()) rankOf(path)
  return ranks
}

/** Cycles of imports that exist at run time. */
export function cycles(sources: readonly SourceFile[]): string[] {
  const targetsOf = new Map(
    sources.map(({ path, imports }) => [
      path,
      imports.flatMap(({ target, isTypeOnly }) => (target === null || isTypeOnly ? [] : [target])),
    ]),
  )
  const found: string[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path)
    if (start !== -1) found.push([...trail.slice(start), path].join(' → '))
    if (start !== -1 || done.has(path)) return
    for (const target of targetsOf.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const path of targetsOf.keys()) visit(path, [])
  return found
}

/** Who may import a module: exact files, or folders that end in '/'. Tests may import everything. */
export function importsOutside(
  sources: readonly SourceFile[],
  modules: RegExp,
  allowed: readonly string[],
  { typesAreFree = false } = {},
): string[] {
  return eachImport(sources, (file, { specifier, isTypeOnly }) => {
    if (!modules.test(specifier) || isTest(file) || isOneOf(file.path, allowed)) return null
    return typesAreFree && isTypeOnly
      ? null
      : `imports ${specifier}, which belongs to ${allowed.length} named files only`
  })
}

/** Who may say a word, such as `Date.now`. Tests may say everything. */
export function wordsOutside(sources: readonly SourceFile[], words: RegExp, allowed: readonly string[]): string[] {
  return sources
    .filter(file => !isTest(file) && !isOneOf(file.path, allowed))
    .flatMap(({ path, code }) =>
      code.split('\n').flatMap((line, index) => {
        const word = words.exec(line)?.[0]
        return word === undefined ? [] : [`${path}:${index + 1} uses ${word}`]
      }),
    )
}

/** Entries of a table of exceptions that no longer are any. */
export function unusedEntries(sources: readonly SourceFile[], allowed: readonly string[], has: RegExp): string[] {
  return allowed.filter(entry => {
    const covered = sources.filter(file => isOneOf(file.path, [entry]))
    return !covered.some(({ code, imports }) => has.test(code) || imports.some(({ specifier }) => has.test(specifier)))
  })
}

export function reexportsAndDefaults(sources: readonly SourceFile[]): string[] {
  return sources.flatMap(({ path, code }) => [
    ...(/(^|\/)index\.ts$/.test(path) ? [`${path}: no index.ts; import the file you mean`] : []),
    ...(/^\s*export\s+default\b|\bas\s+default\b/m.test(code) ? [`${path}: no default exports`] : []),
    ...(/^\s*export\s+\*/m.test(code) ? [`${path}: no export *`] : []),
  ])
}

export function filesTooLong(
  sources: readonly SourceFile[],
  limits: { readonly code: number; readonly test: number },
): string[] {
  return sources.flatMap(file => {
    const limit = isTest(file) ? limits.test : limits.code
    return file.lineCount > limit
      ? [`${file.path} has ${file.lineCount} lines, ${limit} is the limit: find the second noun`]
      : []
  })
}

/** @param exceptions folder → how many files it may hold */
export function foldersTooFull(
  sources: readonly SourceFile[],
  limit: number,
  exceptions: Readonly<Record<string, number>>,
): string[] {
  const folders = new Map<string, number>()
  for (const file of sources) {
    if (isTest(file) || !/^(packages|apps)\//.test(file.path)) continue
    const folder = dirname(file.path)
    folders.set(folder, (folders.get(folder) ?? 0) + 1)
  }
  return [...folders].flatMap(([folder, count]) =>
    count > (exceptions[folder] ?? limit)
      ? [`${folder} holds ${count} files, ${exceptions[folder] ?? limit} is the limit`]
      : [],
  )
}

/** Packages imported but not declared in the room's package.json; those of tests may be dev dependencies. */
export function undeclared(sources: readonly SourceFile[], declaredOf: (room: string) => Declared | null): string[] {
  return eachImport(sources, (file, { specifier, target }) => {
    if (target !== null || specifier.startsWith('node:')) return null
    const declared = declaredOf(roomOf(file.path))
    const name = /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)![0]
    if (declared === null || declared.always.includes(name)) return null
    return isTest(file) && declared.forTests.includes(name)
      ? null
      : `imports ${name}, which its package.json does not name`
  })
}

export interface Declared {
  readonly always: readonly string[]
  readonly forTests: readonly string[]
}

type Judge = (file: SourceFile, imported: SourceFile['imports'][number]) => string | null

function eachImport(sources: readonly SourceFile[], judge: Judge): string[] {
  return sources.flatMap(file =>
    file.imports.flatMap(imported => {
      const wrong = judge(file, imported)
      return wrong === null ? [] : [`${file.path}:${imported.line} ${wrong}`]
    }),
  )
}

function isOneOf(path: string, allowed: readonly string[]): boolean {
  return allowed.some(entry => (entry.endsWith('/') ? path.startsWith(entry) : path === entry))
}
