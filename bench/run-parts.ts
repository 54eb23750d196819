import { printRows } from './print.ts'
import { failedRow, type Row } from './row.ts'

/** What a benchmark measures, by the names its command line knows. */
export type Parts = Readonly<Record<string, () => Promise<readonly Row[]>>>

/** The whole of a benchmark program, `[--json] [part…]`: runs the parts named, or all, and prints one table or one JSON array on
 *  stdout, progress on stderr. A part that fails is a row that falls short; the exit code is 1 when any does, 2 for unknown words. */
export async function runParts(parts: Parts): Promise<void> {
  const args = process.argv.slice(2).filter(arg => arg !== '--')
  const json = args.includes('--json')
  const chosen = args.filter(arg => arg !== '--json')
  const unknown = chosen.filter(name => !Object.hasOwn(parts, name))
  if (unknown.length > 0) {
    console.error(`bench: no part or option named ${unknown.join(', ')}; parts are ${Object.keys(parts).join(', ')}`)
    process.exitCode = 2
    return
  }
  const rows: Row[] = []
  for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
    console.error(`bench: ${name} …`)
    try {
      rows.push(...(await parts[name]!()))
    } catch (error) {
      rows.push(failedRow(name, error))
    }
  }
  printRows(rows, { json })
}
