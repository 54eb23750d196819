import type { Segment } from '../shelf/segment.ts'
import type { Shelf } from '../shelf/shelf.ts'
import type { Writer } from '../writer/writer.ts'
import type { PointNamespace } from './point-format.ts'

/** Something a cut needs is not what it was, or not there any more. */
export class CutLost extends Error {
  override readonly name = 'CutLost'
}

interface CutSegment {
  readonly segment: Segment
  /** A failed sync moves what it lost to a segment behind the cut, and this one ends earlier then. */
  readonly dataBytes: number
}

/** One namespace as it was in one step of the event loop: the segments that hold it, none of which goes before the cut is disposed. */
export class NamespaceCut implements Disposable {
  readonly name: string
  readonly #shelf: Shelf
  readonly #incarnation: Buffer
  readonly #nextId: number
  readonly #settings: PointNamespace['settings']
  readonly #segments: readonly CutSegment[]
  readonly #keeping: Disposable
  /** null after a restart, when all of it is stored. */
  readonly #writer: Writer | null
  /** Not yet stored when last looked at. */
  #unstored: readonly CutSegment[]

  private constructor(
    shelf: Shelf,
    writer: Writer | null,
    { name, incarnation, nextId, settings }: Omit<PointNamespace, 'segments'>,
    segments: readonly Segment[],
  ) {
    this.name = name
    this.#shelf = shelf
    this.#writer = writer
    this.#incarnation = incarnation
    this.#nextId = nextId
    this.#settings = settings
    this.#segments = segments.map(segment => ({ segment, dataBytes: segment.dataBytes }))
    this.#unstored = this.#segments.filter(isUnstored)
    this.#keeping = shelf.keepAlive(segments.map(({ id }) => id))
  }

  /** Ends the open segment, unless it is empty. What is dead already is no part of the cut: nothing in it is needed, and it may be
   *  going while we look.
   *  @throws StorageError, NamespaceReadOnly; nothing is cut then */
  static take(name: string, shelf: Shelf, writer: Writer): NamespaceCut {
    writer.writePending()
    if (!writer.active.isEmpty) writer.rotate()
    const { incarnation, settings } = shelf.manifest.state
    const openId = writer.active.segmentId
    const segments = shelf.all().filter(segment => segment.id !== openId && isThere(segment) && !shelf.isDead(segment))
    return new NamespaceCut(shelf, writer, { name, incarnation, nextId: writer.nextId, settings: settings! }, segments)
  }

  /** The same cut after a restart; null when something of it is gone. */
  static resume(shelf: Shelf, part: PointNamespace): NamespaceCut | null {
    if (!shelf.manifest.state.incarnation.equals(part.incarnation)) return null
    const segments = part.segments.map(({ segmentId, dataBytes, objectId }) => {
      const segment = shelf.find(segmentId)
      const isSame = segment?.dataBytes === dataBytes && segment.objectId === objectId
      return isSame && isThere(segment) ? segment : null
    })
    return segments.includes(null) ? null : new NamespaceCut(shelf, null, part, segments as Segment[])
  }

  /** Segments that the store did not have yet when last looked at. */
  get unstoredCount(): number {
    return this.#unstored.length
  }

  /** Whether the store has all of it.
   *  @throws CutLost, NamespaceReadOnly when that will never be */
  isStored(): boolean {
    const { manifest, signal } = this.#shelf
    if (signal.aborted || !manifest.state.incarnation.equals(this.#incarnation))
      throw new CutLost(`${this.name} was flushed, dropped or closed`)
    for (const { segment, dataBytes } of this.#unstored) {
      if (this.#shelf.find(segment.id) !== segment || segment.dataBytes !== dataBytes)
        throw new CutLost(`segment ${segment.id} of ${this.name} is not what it was`)
    }
    this.#unstored = this.#unstored.filter(isUnstored)
    if (this.#unstored.length > 0) this.#writer?.requireWritable()
    return this.#unstored.length === 0
  }

  /** For the point, once nothing is unstored. */
  describe(): PointNamespace {
    return {
      name: this.name,
      incarnation: this.#incarnation,
      nextId: this.#nextId,
      settings: this.#settings,
      segments: this.#segments.map(({ segment: { id, salt, objectId }, dataBytes }) => {
        return { segmentId: id, dataBytes, salt, objectId: objectId! }
      }),
    }
  }

  /** Whether this is what the point holds already. */
  isIn({ namespaces }: { readonly namespaces: readonly PointNamespace[] }): boolean {
    const part = namespaces.find(({ name }) => name === this.name)
    if (part === undefined) return false
    return (
      part.incarnation.equals(this.#incarnation) &&
      part.nextId === this.#nextId &&
      (['mode', 'public', 'worm', 'maxBytes', 'password'] as const).every(
        key => part.settings[key] === this.#settings[key],
      ) &&
      part.segments.length === this.#segments.length &&
      part.segments.every(({ segmentId }, index) => segmentId === this.#segments[index]!.segment.id)
    )
  }

  /** Durable when it settles: this is the last point that was published. @throws StorageError */
  async recordPublished(epoch: number, point: number): Promise<void> {
    this.#shelf.manifest.append({ type: 'point', epoch, point })
    await this.#shelf.manifest.sync()
  }

  [Symbol.dispose](): void {
    this.#keeping[Symbol.dispose]()
  }
}

function isThere({ state, activity }: Segment): boolean {
  return state !== 'gone' && activity !== 'burying'
}

function isUnstored({ segment }: CutSegment): boolean {
  return segment.objectId === null
}
