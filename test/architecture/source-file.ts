import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

/** One TypeScript file of the repository, as the walls look at it. */
export interface SourceFile {
  /** From the root: `packages/bytes/src/layout.ts`. */
  readonly path: string
  readonly lineCount: number
  readonly imports: readonly Import[]
  /** The text with comments and the contents of quoted strings blanked, line for line. */
  readonly code: string
}

export interface Import {
  /** As written. */
  readonly specifier: string
  readonly line: number
  readonly isTypeOnly: boolean
  /** The path from the root of a relative import, else null. */
  readonly target: string | null
}

/** Every TypeScript file of ours: git is not asked, because a copy of the sources need not be a checkout. */
export function readSources(root: string): SourceFile[] {
  return globSync('{apps,packages,test,bench}/**/*.ts', { cwd: root, exclude: ['**/node_modules'] })
    .sort()
    .map(path => parseSource(path, readFileSync(join(root, path), 'utf8')))
}

export function parseSource(path: string, text: string): SourceFile {
  const code = blank(text)
  return { path, lineCount: text.trimEnd().split('\n').length, imports: importsOf(path, text, code), code }
}

/** TypeScript 7 has no stable compiler API, so imports are found by their spelling: where the blanked code has the words,
 *  the text has the specifier. */
function importsOf(path: string, text: string, code: string): Import[] {
  const spellings = /\b(?:import|export)\s+(type\s)?[^'"`;]*?\bfrom\s*(['"])|\bimport\s*(?:\(\s*)?(['"])/g
  // Template literals hold samples of code, here and there.
  const plain = code.replace(/`(?:\\.|[^`\\])*`/g, literal => literal.replace(/[^\n]/g, ' '))
  return [...plain.matchAll(spellings)].map(match => {
    const start = match.index + match[0].length
    const quote = match[2] ?? match[3]!
    const specifier = text.slice(start, text.indexOf(quote, start))
    const line = code.slice(0, match.index).split('\n').length
    const target = specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : null
    return { specifier, line, isTypeOnly: match[1] !== undefined, target }
  })
}

/** Comments and quoted text become spaces; quotes, template literals and line breaks stay. */
function blank(text: string): string {
  const tokens = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g
  return text.replace(tokens, token => {
    if (token.startsWith('`')) return token
    const spaces = token.replace(/[^\n]/g, ' ')
    return token.startsWith('/') ? spaces : token[0] + spaces.slice(1, -1) + token[0]
  })
}

export function isTest({ path }: SourceFile): boolean {
  return path.endsWith('.test.ts') || /(^|\/)(test|testing)\//.test(path) || path.startsWith('packages/testkit/')
}

/** `packages/bytes`, `apps/fs`; for what belongs to no package the first folder. */
export function roomOf(path: string): string {
  const [first, second] = path.split('/')
  return first === 'packages' || first === 'apps' ? `${first}/${second}` : first!
}
