import { readFileSync } from 'node:fs'
import type { z } from 'zod'
import { fromCaller } from './caller.ts'
import { nearest } from './nearest.ts'
import { type KeyPath, parseToml, type Table, type TomlDocument, TomlSyntaxError } from './toml.ts'

/** The sections of a qsfs.toml, one per daemon. */
export const configSections = ['fs', 'cachedb', 'stor'] as const
export type ConfigSection = (typeof configSections)[number]

/** What is wrong with a config, as one sentence for people with file, line and key. Exit code 2. */
export class ConfigError extends Error {
  readonly exitCode = 2
}

export interface ConfigSource {
  /** The TOML file; undefined: defaults and overrides only. */
  readonly path: string | undefined
  readonly section: ConfigSection
  /** Values of flags, by the names of the file's keys; they win. undefined is no value. */
  readonly overrides?: Table
}

/** Reads one section, checks it and freezes it. Build `schema` of `z.strictObject`, at every level: keys it does not
 *  know are then found and the nearest right one is named. A file whose top level has `minimal_shards` is zstor's: the
 *  whole file is [stor].
 *  @throws ConfigError */
export function loadSection<S extends z.ZodType>(
  schema: S,
  { path, section, overrides = {} }: ConfigSource,
): z.output<S> {
  const file = path === undefined ? null : readSection(fromCaller(path), section)
  const flags = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined))
  const given = { ...file?.values, ...flags }
  const result = schema.safeParse(given)
  if (result.success) return deepFreeze(result.data)

  const sentences = result.error.issues.map(issue => {
    const { key, text } = explain(schema, given, issue)
    const isFlag = key.length > 0 && Object.hasOwn(flags, key[0]!)
    const where = file === null || isFlag ? '' : `${file.positionOf(key)}: `
    return `${where}[${section}] ${text}`
  })
  throw new ConfigError(sentences.join('\n'))
}

/** One section of a TOML file, unchecked. */
export interface SectionOfFile {
  readonly values: Table
  /** `file:line` of a key of the section, or the file when no line is known. */
  positionOf(key: KeyPath): string
}

/** Reads one section as it stands in the file, for who passes it on; everyone else uses `loadSection`.
 *  @throws ConfigError */
export function readSection(path: string, section: ConfigSection): SectionOfFile {
  const document = readDocument(path)
  const isZstor = Object.hasOwn(document.values, 'minimal_shards')
  if (!isZstor) checkSections(path, document)
  const prefix = isZstor ? [] : [section]
  const values = isZstor ? (section === 'stor' ? document.values : {}) : (document.values[section] ?? {})
  const position = (key: KeyPath) => at(path, document.lineOf([...prefix, ...key]))
  if (!isTable(values)) throw new ConfigError(`${position([])}: ${section} is a section, write [${section}]`)
  return { values, positionOf: position }
}

function readDocument(path: string): TomlDocument {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'does not exist'
        : `cannot be read: ${(error as Error).message}`
    throw new ConfigError(`the config ${path} ${reason}`, { cause: error })
  }
  try {
    return parseToml(text)
  } catch (error) {
    if (error instanceof TomlSyntaxError)
      throw new ConfigError(`${at(path, error.line)}: ${error.message}`, { cause: error })
    throw error
  }
}

function checkSections(path: string, document: TomlDocument): void {
  for (const key of Object.keys(document.values)) {
    if ((configSections as readonly string[]).includes(key)) continue
    const hint = didYouMean(key, configSections, name => `[${name}]`)
    throw new ConfigError(`${at(path, document.lineOf([key]))}: ${key} is not a section; ${hint}`)
  }
}

/** One zod issue as the key it is about and a sentence. */
function explain(
  schema: z.ZodType,
  given: Table,
  issue: z.core.$ZodIssue,
): { readonly key: KeyPath; readonly text: string } {
  const path = issue.path.map(step => (typeof step === 'symbol' ? String(step) : step))
  if (issue.code === 'unrecognized_keys') {
    const key = [...path, issue.keys[0]!]
    return {
      key,
      text: `${nameOf(key)} is not a key; ${didYouMean(issue.keys[0]!, keysAt(schema, path), name => name)}`,
    }
  }
  if (path.length > 0 && valueAt(given, path) === undefined) return { key: path, text: `${nameOf(path)} is missing` }
  const message = issue.message.replace(/^Invalid (input|option): /, '')
  return { key: path, text: path.length === 0 ? message : `${nameOf(path)}: ${message}` }
}

function didYouMean(typed: string, known: readonly string[], show: (name: string) => string): string {
  const near = nearest(typed, known)
  return near === null ? `known are ${known.map(show).join(', ')}` : `did you mean ${show(near)}?`
}

/** The keys that the object of the schema at this path knows. */
function keysAt(schema: z.ZodType, path: KeyPath): readonly string[] {
  const object = path.reduce<SchemaNode | undefined>((node, step) => stepInto(unwrap(node), step), schema as SchemaNode)
  return Object.keys(unwrap(object)?.def.shape ?? {})
}

/** What we look at in zod's schemas: the definitions that its own reflection (`schema.def`) shows. */
interface SchemaNode {
  readonly def: {
    readonly innerType?: SchemaNode
    readonly in?: SchemaNode
    readonly element?: SchemaNode
    readonly valueType?: SchemaNode
    readonly shape?: Readonly<Record<string, SchemaNode>>
  }
}

/** Below defaults, optionals and transforms. */
function unwrap(node: SchemaNode | undefined): SchemaNode | undefined {
  const inner = node?.def.innerType ?? node?.def.in
  return inner === undefined ? node : unwrap(inner)
}

function stepInto(node: SchemaNode | undefined, step: string | number): SchemaNode | undefined {
  return typeof step === 'number' ? node?.def.element : (node?.def.shape?.[step] ?? node?.def.valueType)
}

function valueAt(table: Table, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (value, step) => (value === null || typeof value !== 'object' ? undefined : Reflect.get(value, step)),
    table,
  )
}

/** groups[0].backends[1].address */
function nameOf(path: KeyPath): string {
  return path.map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? step : `.${step}`)).join('')
}

function at(path: string, line: number | undefined): string {
  return line === undefined ? path : `${path}:${line}`
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function deepFreeze<T>(value: T): T {
  const isPlain = Array.isArray(value) || (isTable(value) && Object.getPrototypeOf(value) === Object.prototype)
  if (!isPlain) return value
  for (const inner of Object.values(value as object)) deepFreeze(inner)
  return Object.freeze(value)
}
