/** `pnpm bench [--json] [part…]`: runs the parts named, or all, and prints one table or one JSON array on stdout.
 *  Progress goes to stderr. A part that fails is a row that falls short; the exit code is 1 when any row does. */
import { printRows } from './print.ts'
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
printRows(rows, { json })
