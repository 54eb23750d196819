import type { Catalog } from '../keydir/catalog.ts'
import { deleteObject } from '../shelf/burying.ts'
import { openNext } from './opening.ts'
import type { Writer } from './writer.ts'

/** Drops every segment of a namespace by one manifest record, and opens the next one at id 0: a crash finds all of it or nothing.
 *  The namespace's incarnation is another one from now on. Durable when it settles.
 *  @param catalog of what is there afterwards: nothing
 *  @throws StorageError, NamespaceReadOnly; nothing is dropped then, unless the sync was what failed */
export async function flushSegments(writer: Writer, catalog: Catalog): Promise<void> {
  const { shelf } = writer
  writer.requireWritable()
  writer.writePending()
  const { random, storage } = shelf.context
  const dropped = shelf.all()
  const flushed = { type: 'flushed', incarnation: random(8) } as const
  // What their hooks make may be an object: after a crash it is asked for again, with the files, to be deleted.
  const storing = dropped.filter(segment => segment.activity === 'storing')
  const active = openNext(
    shelf,
    { previousEndBytes: 0, nextId: 0 },
    {
      before: [...storing.map(({ id }) => ({ type: 'storing', segmentId: id }) as const), flushed],
    },
  )
  writer.restart(active, catalog)
  for (const segment of dropped) shelf.forget(segment)
  await writer.sync()
  for (const segment of dropped) {
    // Its files go when its hook has ended.
    if (storing.includes(segment)) continue
    storage.remove(segment.dataPath)
    storage.remove(segment.hintPath)
    if (segment.objectId !== null) shelf.inBackground(deleteObject(shelf, segment, segment.objectId))
  }
}
