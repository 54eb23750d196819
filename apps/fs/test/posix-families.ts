/** The files in `posix`, each a family of operations. */
export const families = [
  'attributes',
  'contents',
  'copies',
  'holes',
  'locks',
  'names',
  'overlay',
  'renames',
  'unlinked',
  'xattrs',
] as const
export type Family = (typeof families)[number]
