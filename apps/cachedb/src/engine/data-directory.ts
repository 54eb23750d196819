import { basename, dirname } from 'node:path'
import { type Storage, StorageError } from '../segment/storage.ts'

/** Makes the directory and what is missing above it, and has their names on disk before it settles: a power cut takes a directory
 *  whose name it never learned with all that was synced inside. A name that is there already is synced too: an earlier start may
 *  have been cut off before it came to it.
 *  @throws StorageError */
export async function makeDataDirectory(storage: Storage, directory: string): Promise<void> {
  const parent = dirname(directory)
  if (parent === directory) return
  const wasThere = isListed(storage, parent, basename(directory))
  if (wasThere === false) await makeDataDirectory(storage, parent)
  storage.makeDirectory(directory)
  // A parent that is not ours to read was made by somebody else, and so was the name in it.
  if (wasThere !== null) await storage.syncDirectory(parent)
}

/** null when we may not look. */
function isListed(storage: Storage, directory: string, wanted: string): boolean | null {
  try {
    return storage.list(directory).some(({ name }) => name === wanted)
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    return null
  }
}
