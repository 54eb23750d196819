/** `pnpm bench [--json] [part…]`: runs the parts named, or all, and prints one table or one JSON array on stdout.
 *  Progress goes to stderr. A part that fails is a row that falls short; the exit code is 1 when any row does. */
import { failedRow, type Row } from './row.ts'

const parts: Record<string, () => Promise<{ rows(): Promise<Row[]> }>> = {
  fuse: () => import('./fuse.ts'),
  erasure: () => import('./erasure.ts'),
  stor: () => import('./stor-pipeline.ts'),
  filesystem: () => import('./filesystem.ts'),
  'cold-read': () => import('./cold-read.ts'),
  memory: () => import('./memory.ts'),
}

const args = process.argv.slice(2).filter(arg => arg !== '--')
const json = args.includes('--json')
const chosen = args.filter(arg => !arg.startsWith('--'))
const unknown = [
  ...chosen.filter(name => !(name in parts)),
  ...args.filter(arg => arg.startsWith('--') && arg !== '--json'),
]
if (unknown.length > 0) {
  console.error(`bench: no part or option named ${unknown.join(', ')}; parts are ${Object.keys(parts).join(', ')}`)
  process.exit(2)
}

const rows: Row[] = []
for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
  console.error(`bench: ${name} …`)
  try {
    const part = await parts[name]?.()
    if (part) rows.push(...(await part.rows()))
  } catch (error) {
    rows.push(failedRow(name, error))
  }
}
console.log(json ? JSON.stringify(rows) : table(rows))
process.exitCode = rows.some(row => row.met === false) ? 1 : 0

function table(rows: readonly Row[]): string {
  const cells = rows.map(row => [
    row.name,
    row.value === null ? `failed: ${row.error}` : `${row.value} ${row.unit}`,
    row.against ? `${row.against.value} ${row.against.name}` : '',
    row.ratio === null ? '' : `${row.ratio}x`,
    row.target ?? '',
    row.met === null ? '' : row.met ? 'yes' : 'NO',
  ])
  const all = [['what', 'measured', 'against', 'ratio', 'target', 'met'], ...cells]
  const widths = all[0]!.map((_, column) => Math.max(...all.map(line => line[column]!.length)))
  return all
    .map(line =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
