import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser'

export type KeyPath = readonly (string | number)[]
export type Table = Readonly<Record<string, unknown>>

/** A parsed TOML file that still knows on which line each key stands. */
export interface TomlDocument {
  readonly values: Table
  /** The line of the key, or of the nearest table around it; undefined when nothing of the path is in the file. */
  lineOf(path: KeyPath): number | undefined
}

/** A syntax error, with its line. */
export class TomlSyntaxError extends Error {
  readonly line: number

  constructor(line: number, message: string) {
    super(message)
    this.line = line
  }
}

/** @throws TomlSyntaxError */
export function parseToml(text: string): TomlDocument {
  const program = parse(text)
  const lines = new Map<string, number>()
  for (const node of program.body[0].body) {
    if (node.type === 'TOMLKeyValue') noteKeyValue(lines, [], node)
    else {
      notePrefixes(lines, node.resolvedKey, 0, node.loc.start.line)
      for (const inner of node.body) noteKeyValue(lines, node.resolvedKey, inner)
    }
  }
  return {
    values: getStaticTOMLValue(program) as Table,
    lineOf(path) {
      for (let length = path.length; length > 0; length--) {
        const line = lines.get(idOf(path.slice(0, length)))
        if (line !== undefined) return line
      }
      return undefined
    },
  }
}

function parse(text: string): AST.TOMLProgram {
  try {
    return parseTOML(text)
  } catch (error) {
    if (error instanceof ParseError) throw new TomlSyntaxError(error.lineNumber, error.message)
    throw error
  }
}

function noteKeyValue(lines: Map<string, number>, table: KeyPath, node: AST.TOMLKeyValue): void {
  const path = [...table, ...node.key.keys.map(key => (key.type === 'TOMLBare' ? key.name : key.value))]
  notePrefixes(lines, path, table.length, node.loc.start.line)
  noteContent(lines, path, node.value)
}

function noteContent(lines: Map<string, number>, path: KeyPath, node: AST.TOMLContentNode): void {
  if (node.type === 'TOMLInlineTable') for (const inner of node.body) noteKeyValue(lines, path, inner)
  if (node.type !== 'TOMLArray') return
  for (const [index, element] of node.elements.entries()) {
    lines.set(idOf([...path, index]), element.loc.start.line)
    noteContent(lines, [...path, index], element)
  }
}

/** `a.b.c = 1` names a and a.b too; the first line that names something is its line. */
function notePrefixes(lines: Map<string, number>, path: KeyPath, from: number, line: number): void {
  for (let length = from + 1; length <= path.length; length++) {
    const id = idOf(path.slice(0, length))
    if (!lines.has(id)) lines.set(id, line)
  }
}

function idOf(path: KeyPath): string {
  return JSON.stringify(path)
}
