import type { Row } from './row.ts'

/** Prints rows as one table, or as one JSON array, on stdout; the exit code is 1 when any falls short. */
export function printRows(rows: readonly Row[], { json }: { readonly json: boolean }): void {
  console.log(json ? JSON.stringify(rows) : table(rows))
  process.exitCode = rows.some(row => row.met === false) ? 1 : 0
}

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
