import type { FillDirectory, MaybePromise, NodeId } from '@qsfs/fuse/filesystem'
import { attempt } from '../tree/attempt.ts'
import type { DirectoryName } from '../tree/directory/directory-format.ts'
import { FileType, type Inode } from '../tree/inode.ts'
import { NotLoaded } from '../tree/record-cache.ts'
import { noteAccess } from './access-time.ts'
import { directoryAt, entryOf } from './names.ts'
import type { Volume } from './volume.ts'

/** Cursors 0 and 1 stand before '.' and '..'; a name with cookie c stands at c + 2. */
const firstNameCursor = 2n

/** readdir and readdirplus, in the order of the names' hashes: a name that stays is seen once, whatever else changes. */
export class ListOperations {
  readonly #volume: Volume

  constructor(volume: Volume) {
    this.#volume = volume
  }

  readdir(node: NodeId, cursor: bigint, withEntries: boolean, fill: FillDirectory): MaybePromise<void> {
    return attempt(() => {
      const directory = directoryAt(this.#volume, node)
      let count = 0
      const filled: FillDirectory = (...name) => {
        const fits = fill(...name)
        if (fits) count++
        return fits
      }
      noteAccess(this.#volume, directory)
      try {
        this.#list(directory, cursor, withEntries, filled)
      } catch (error) {
        // What was filled in cannot be taken back: the rest is asked for again, and by then it is in memory.
        if (!(error instanceof NotLoaded) || count === 0) throw error
        error.loading.catch(ignoredUntilRead)
      }
    })
  }

  #list(directory: Inode, cursor: bigint, withEntries: boolean, fill: FillDirectory): void {
    const { directories } = this.#volume
    if (cursor < 1n && !fill(dot, directory.nodeId, FileType.directory, 1n, null)) return
    if (cursor < 2n && !fill(dotDot, directory.parent, FileType.directory, firstNameCursor, null)) return
    const from = cursor < firstNameCursor ? 0 : Number(cursor - firstNameCursor)
    for (const names of atLeast(namesAtOnce, directories.buckets(directory, from))) {
      if (withEntries) this.#loadAll(names)
      for (const name of names) if (!this.#fillOne(name, withEntries, fill)) return
    }
  }

  #loadAll(names: readonly DirectoryName[]): void {
    const loading = this.#volume.inodes.prefetch(names.map(({ nodeId }) => nodeId))
    if (loading !== null) throw new NotLoaded(loading)
  }

  #fillOne({ name, nodeId, type, cookie }: DirectoryName, withEntries: boolean, fill: FillDirectory): boolean {
    const { inodes } = this.#volume
    const inode = withEntries ? inodes.peek(nodeId) : null
    const next = BigInt(cookie) + firstNameCursor + 1n
    const fits = fill(Buffer.from(name, 'latin1'), nodeId, type << 12, next, inode === null ? null : entryOf(inode))
    if (fits && inode !== null) inodes.raiseLookups(nodeId)
    return fits
  }
}

/** About what one request takes. In a huge directory a bucket has fifteen names, each with an inode in another record. */
const namesAtOnce = 128

/** The same names in fewer, longer lists. */
function* atLeast(count: number, lists: Iterable<readonly DirectoryName[]>): Generator<readonly DirectoryName[]> {
  let names: readonly DirectoryName[] = []
  for (const list of lists) {
    names = names.length === 0 ? list : [...names, ...list]
    if (names.length < count) continue
    yield names
    names = []
  }
  yield names
}

const dot = Buffer.from('.')
const dotDot = Buffer.from('..')

/** Only started early: whoever needs it asks again, and is told. */
function ignoredUntilRead(): void {}
