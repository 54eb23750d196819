import { inverse, multiply, power } from './gf256.ts'

/** Rows of bytes of equal length; never changed once made. */
export type Matrix = readonly Uint8Array[]

/** Row r is r^0, r^1, …: any `columns` of its rows are independent, as long as there are at most 256. */
export function vandermonde(rowCount: number, columnCount: number): Matrix {
  return Array.from({ length: rowCount }, (_, row) =>
    Uint8Array.from({ length: columnCount }, (_, column) => power(row, column)),
  )
}

export function product(left: Matrix, right: Matrix): Matrix {
  return left.map(row =>
    Uint8Array.from(right[0]!, (_, column) =>
      row.reduce((sum, factor, inner) => sum ^ multiply(factor, right[inner]![column]!), 0),
    ),
  )
}

/** Gauss-Jordan elimination.
 *  @throws RangeError when the matrix is singular */
export function inverted(matrix: Matrix): Matrix {
  const size = matrix.length
  // The matrix with the identity to its right; what turns the left half into the identity makes the right the inverse.
  const work = matrix.map((row, index) => {
    const wide = new Uint8Array(size * 2)
    wide.set(row)
    wide[size + index] = 1
    return wide
  })
  for (let column = 0; column < size; column++) {
    const pivot = work.findIndex((row, index) => index >= column && row[column] !== 0)
    if (pivot < 0) throw new RangeError('the matrix is singular')
    const pivotRow = work[pivot]!
    work[pivot] = work[column]!
    work[column] = pivotRow
    scale(pivotRow, inverse(pivotRow[column]!))
    for (const row of work) if (row !== pivotRow) addScaled(row, pivotRow, row[column]!)
  }
  return work.map(row => row.slice(size))
}

function scale(row: Uint8Array, factor: number): void {
  for (let i = 0; i < row.length; i++) row[i] = multiply(row[i]!, factor)
}

function addScaled(row: Uint8Array, other: Uint8Array, factor: number): void {
  for (let i = 0; i < row.length; i++) row[i]! ^= multiply(other[i]!, factor)
}
