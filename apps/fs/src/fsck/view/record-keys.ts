/** A record's key, taken apart; null: no record of ours is called so. */
export type RecordKey =
  | { readonly kind: 'numbers' }
  | { readonly kind: 'inodes'; readonly index: number }
  | { readonly kind: 'bucket'; readonly nodeId: number; readonly path: string }
  | { readonly kind: 'extents'; readonly nodeId: number; readonly chunkIndex: number }
  | { readonly kind: 'attributes'; readonly nodeId: number }
  | { readonly kind: 'orphans'; readonly index: number }
  | { readonly kind: 'shared'; readonly index: number }

export function parseRecordKey(key: string): RecordKey | null {
  if (key === 'n') return { kind: 'numbers' }
  const match = /^([idexos])(\d{1,16})(?:\.([0-9a-f]*))?$/.exec(key)
  if (match === null) return null
  const [, letter, digits, rest] = match
  const number = Number(digits)
  if (!Number.isSafeInteger(number)) return null
  if (letter === 'd') return rest === undefined ? null : { kind: 'bucket', nodeId: number, path: rest }
  if (letter === 'e')
    return /^\d+$/.test(rest ?? '') ? { kind: 'extents', nodeId: number, chunkIndex: Number(rest) } : null
  if (rest !== undefined) return null
  if (letter === 'i') return { kind: 'inodes', index: number }
  if (letter === 'x') return { kind: 'attributes', nodeId: number }
  return { kind: letter === 'o' ? 'orphans' : 'shared', index: number }
}
