/** `pnpm bench:cachedb [--json] [part…]`: cachedb beside Debian's redis-server on the same disk, taking turns; then what it promises of
 *  memory, start-up and isolation. Prints one table or one JSON array on stdout, progress on stderr. */
import { isolationRows } from './cachedb/isolation.ts'
import { keyRows } from './cachedb/keys.ts'
import { throughputRows } from './cachedb/throughput.ts'
import { printRows } from './print.ts'
import { failedRow, type Row } from './row.ts'

const parts: Readonly<Record<string, () => Promise<Row[]>>> = {
  throughput: throughputRows,
  keys: keyRows,
  isolation: isolationRows,
}

const args = process.argv.slice(2).filter(arg => arg !== '--')
const chosen = args.filter(arg => arg !== '--json')
const unknown = chosen.filter(name => !Object.hasOwn(parts, name))
if (unknown.length > 0) {
  console.error(`bench: no part named ${unknown.join(', ')}; parts are ${Object.keys(parts).join(', ')}`)
  process.exit(2)
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
printRows(rows, { json: args.includes('--json') })
