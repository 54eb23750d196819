import { dirname, join } from 'node:path'
import { ActiveSegment } from '../../segment/active.ts'
import { decodeFileHeader, entryBytes, FileHeader, FormatError } from '../../segment/format.ts'
import { HintCursor, HintEntries, type HintRecord } from '../../segment/hint-format.ts'
import type { ReadFile } from '../../segment/storage.ts'
import type { EngineContext } from '../context.ts'
import { Catalog } from '../keydir/catalog.ts'
import { Manifest } from '../manifest/manifest.ts'
import type { ManifestSegment } from '../manifest/manifest-state.ts'
import type { NamespaceSettings } from '../namespace.ts'
import { deleteObject } from '../shelf/burying.ts'
import { entriesInHint, publishHint, readHintIfGood } from '../shelf/hint-file.ts'
import { dataPath, hintPath, type Segment } from '../shelf/segment.ts'
import { Shelf } from '../shelf/shelf.ts'
import { askAgain } from '../shelf/unheard.ts'
import { openNext } from '../writer/opening.ts'
import { Writer } from '../writer/writer.ts'
import { ZdbNamespace } from '../zdb/zdb-namespace.ts'
import { cutPath } from './cuts.ts'
import { firstRecords, type ZdbSource } from './import.ts'
import { LoadProgress } from './load-progress.ts'
import { isWhole, replaySegment } from './replay.ts'
import { removeStrays } from './strays.ts'

export interface OpenedNamespace {
  readonly shelf: Shelf
  readonly writer: Writer
}

export interface OpenOptions {
  /** Never evicted. */
  readonly pinned: boolean
  /** For directories that 0-db wrote; without it their keys tell the mode. */
  readonly zdb?: ZdbSource
  /** Told when the start begins to wait for the store, and when it goes on. */
  readonly onFetching?: (isFetching: boolean) => void
}

interface Bounds {
  readonly syncedBytes: number
  readonly endBytes?: number
}

const noSource: ZdbSource = { indexRoot: null, mode: null }

/** Opens a directory, making it when there is none, and brings the namespace back to a prefix of its append order: all closed
 *  segments, then the open ones up to the first that does not verify to its end.
 *  @throws FormatError, StorageError, SegmentUnavailable when what must be there is not */
export async function recover(
  directory: string,
  initial: NamespaceSettings,
  { pinned, zdb: source = noSource, onFetching = () => {} }: OpenOptions,
  context: EngineContext,
): Promise<OpenedNamespace> {
  const manifest = await openManifest(directory, initial, source, context)
  const shelf = new Shelf(directory, pinned, manifest, context)
  try {
    if (manifest.cutBytes > 0) context.log.warn('manifest.cut', { directory, cutBytes: manifest.cutBytes })
    removeStrays(shelf)
    const opened = await new Recovery(shelf, source, onFetching).run()
    const { count, bytes } = shelf.cuts
    if (count > 0) context.log.warn('namespace.cuts_kept', { directory, count, bytes })
    return opened
  } catch (error) {
    shelf.stop()
    manifest[Symbol.dispose]()
    throw error
  }
}

async function openManifest(
  directory: string,
  initial: NamespaceSettings,
  source: ZdbSource,
  context: EngineContext,
): Promise<Manifest> {
  const { storage, random } = context
  const path = join(directory, 'manifest')
  const manifest = await Manifest.open(storage, path)
  // The first record, written with the file: a manifest without it was damaged, and what its namespace is like is not known.
  if (manifest?.state.settings === null) {
    manifest[Symbol.dispose]()
    throw new FormatError(`${path}: its first record is damaged`)
  }
  if (manifest !== null) return manifest
  storage.makeDirectory(directory)
  await storage.syncDirectory(dirname(directory))
  return Manifest.create(storage, path, random(8), await firstRecords(directory, initial, source, context))
}

/** A few milliseconds of loading. */
const entriesPerSlice = 8_192

/** One recovery, segment by segment in the order they were opened. */
class Recovery {
  readonly #shelf: Shelf
  readonly #catalog: Catalog
  #nextId = 0
  /** The open segment to go on with, after a clean end. */
  #active: ActiveSegment | null = null
  #lastEndBytes = 0
  /** Open segments count while all before them are whole. */
  #isWhole = true
  /** Where segments were cut that the manifest says are longer. */
  readonly #cuts: { readonly segmentId: number; readonly endBytes: number }[] = []
  /** Segments without an entry that counts, and those of them that lie behind a cut. */
  readonly #voided: Segment[] = []
  readonly #discarded: Segment[] = []
  readonly #zdb: ZdbNamespace
  readonly #onFetching: (isFetching: boolean) => void
  readonly #progress: LoadProgress

  constructor(shelf: Shelf, source: ZdbSource, onFetching: (isFetching: boolean) => void) {
    this.#shelf = shelf
    this.#onFetching = onFetching
    this.#progress = new LoadProgress(shelf)
    const seed = shelf.context.random(4).readUInt32LE(0)
    const mode = shelf.manifest.state.settings?.mode ?? 'user'
    this.#catalog = new Catalog(mode, seed, shelf.lifeOf, shelf.onLoss)
    const isOurs = [...shelf.manifest.state.segments.values()].every(({ salt }) => salt !== null)
    this.#zdb = ZdbNamespace.open(shelf.directory, isOurs ? null : source.indexRoot, mode, shelf.context)
  }

  async run(): Promise<OpenedNamespace> {
    const shelf = this.#shelf
    const segments = [...shelf.manifest.state.segments.values()]
    this.#catalog.expect(
      segments
        .filter(({ state }) => state !== 'gone' && state !== 'open')
        .reduce(
          (sum, { segmentId: id }) => sum + entriesInHint(shelf.context.storage, hintPath(shelf.directory, id)),
          0,
        ),
    )
    for (const known of segments) {
      if (known.state === 'gone') this.#payDebts(known)
      else if (known.state === 'open') await this.#recoverOpen(known)
      else await this.#recoverClosed(known)
      this.#progress.loaded(known.dataBytes)
    }
    for (const _ of this.#catalog.fit()) await turn()
    this.#continueIds()
    const writer = new Writer(shelf, this.#catalog, this.#goOn(), this.#nextId)
    await writer.syncNames()
    for (const segment of this.#voided) this.#remove(segment)
    shelf.start(() => writer.sync())
    return { shelf, writer }
  }

  /** Behind files of 0-db alone its index says exactly which id is next. */
  #continueIds(): void {
    const isImport = [...this.#shelf.manifest.state.segments.values()].every(({ salt }) => salt === null)
    if (isImport) this.#nextId = this.#zdb.continued(this.#nextId)
  }

  /** What the store may hold of a segment that is gone. */
  #payDebts({ segmentId: id, objectId }: ManifestSegment): void {
    const shelf = this.#shelf
    const segment = { id, dataPath: dataPath(shelf.directory, id) }
    shelf.inBackground(objectId === null ? askAgain(shelf, id) : deleteObject(shelf, segment, objectId))
  }

  /** The segment to append to, the manifest knowing by the same write what does not count. Of that write any prefix may survive:
   *  what lies behind a cut is made void before the cut is made good, and the next id has a new bearer before an old one goes. */
  #goOn(): ActiveSegment {
    const shelf = this.#shelf
    const gone = this.#voided.map(({ id }) => ({ type: 'gone', segmentId: id, objectId: null }) as const)
    if (this.#active !== null) {
      shelf.manifest.append(...gone)
      return this.#active
    }
    const before = this.#discarded.map(({ id }) => ({ type: 'ends', segmentId: id, endBytes: 0 }) as const)
    const after = [...this.#cuts.map(cut => ({ type: 'ends', ...cut }) as const), ...gone]
    return openNext(shelf, { previousEndBytes: this.#lastEndBytes, nextId: this.#nextId }, { before, after })
  }

  async #recoverClosed(known: ManifestSegment): Promise<void> {
    const shelf = this.#shelf
    const { storage, log } = shelf.context
    const segment = this.#shelve(known, known.dataBytes, known.state)
    this.#nextId = Math.max(this.#nextId, known.firstId)
    this.#lastEndBytes = known.dataBytes
    // A crash struck between the cut and what makes it good.
    if (known.endBytes !== null && known.dataBytes < known.endBytes) this.#cutAt(known.segmentId, known.dataBytes)
    if (segment.isLocal && storage.sizeBytes(segment.dataPath) === null) {
      log.error('segment.missing', { directory: shelf.directory, segmentId: segment.id, state: segment.state })
      if (segment.state === 'stored') {
        await shelf.giveUpFile(segment, 'damaged')
      } else {
        shelf.context.room.give(segment.dataBytes)
        segment.lost = true
      }
    }
    if (segment.isLocal) await this.#trim(segment)
    const hint = readHintIfGood(storage, segment)
    if (hint !== null) {
      await this.#load(segment, new HintCursor(hint.entries))
      this.#nextId = Math.max(this.#nextId, hint.nextId)
      return
    }
    // 0-db has none.
    if (known.salt !== null) log.warn('hint.rebuilt', { directory: shelf.directory, segmentId: segment.id })
    // What is missing from a rotten file would let older values of its keys live: the store has it as it was.
    if (segment.isLocal && segment.state === 'stored' && !isWhole(storage, segment))
      await shelf.giveUpFile(segment, 'damaged')
    if (!segment.isLocal) {
      this.#onFetching(true)
      await shelf.restore(segment).finally(() => this.#onFetching(false))
    }
    using file = storage.openRead(segment.dataPath)
    const entries = this.#replay(segment, file, { syncedBytes: segment.dataBytes, endBytes: segment.dataBytes }).entries
    await publishHint(shelf, segment, { dataBytes: segment.dataBytes, nextId: this.#nextId, entries })
  }

  /** Bytes behind the end of a closed segment never counted: a short append, or a failed sync, whose truncation did not reach the disk. */
  async #trim({ id: segmentId, salt, dataPath, dataBytes }: Segment): Promise<void> {
    const { directory, context, cuts } = this.#shelf
    const { storage, log } = context
    const sizeBytes = storage.sizeBytes(dataPath)
    if (sizeBytes === null || sizeBytes <= dataBytes) return
    log.warn('segment.trimmed', { directory, segmentId, dataBytes, sizeBytes })
    using file = storage.openAppend(dataPath)
    if (salt === null) {
      // 0-db was started on it once more: whoever did that may want back what it wrote.
      await storage.publish(cutPath(directory, `d${segmentId}`, dataBytes), [
        file.readSync(dataBytes, sizeBytes - dataBytes),
      ])
      cuts.add(sizeBytes - dataBytes)
    }
    file.truncate(dataBytes)
  }

  async #recoverOpen(known: ManifestSegment): Promise<void> {
    const shelf = this.#shelf
    const { storage } = shelf.context
    const path = dataPath(shelf.directory, known.segmentId)
    const segment = this.#shelve(known, storage.sizeBytes(path) ?? 0, 'open')
    if (!this.#isWhole) {
      this.#discarded.push(segment)
      return this.#void(segment)
    }
    // An earlier start found nothing in it that counts; its next id was that of entries that were lost.
    if (known.endBytes === 0) return this.#void(segment)
    this.#nextId = Math.max(this.#nextId, known.firstId)
    // What is read may be page cache alone, and stay so whatever a sync says.
    if (segment.dataBytes > known.syncedBytes) await storage.writeAgain(path, known.syncedBytes)
    // A header that was on disk and is damaged takes no entry with it: the manifest knows the salt.
    if (!checkHeader(shelf, segment) && known.syncedBytes <= FileHeader.sizeBytes) {
      if (known.endBytes !== null) this.#cutAt(segment.id, 0)
      return this.#void(segment)
    }
    const sizeBytes = segment.dataBytes
    using file = storage.openRead(path)
    const bounds = { syncedBytes: known.syncedBytes, ...(known.endBytes === null ? {} : { endBytes: known.endBytes }) }
    const { goodBytes, isClean, entries } = this.#replay(segment, file, bounds)
    if (known.endBytes !== null && goodBytes < known.endBytes) this.#cutAt(segment.id, goodBytes)
    if (goodBytes < sizeBytes) await this.#cut(segment, file, goodBytes)
    this.#lastEndBytes = goodBytes
    const isLast = known.segmentId === shelf.manifest.state.lastSegmentId
    if (isLast && isClean && goodBytes === sizeBytes && goodBytes === known.syncedBytes && segment.salt !== null) {
      this.#active = ActiveSegment.reopen(storage, path, { segmentId: segment.id, salt: segment.salt }, entries)
      segment.reader = this.#active
      return
    }
    if (entries.count === 0) return this.#void(segment)
    await storage.syncDirectory(shelf.directory)
    await publishHint(shelf, segment, { dataBytes: goodBytes, nextId: this.#nextId, entries })
    segment.state = await shelf.recorded(segment, 'closed', {
      type: 'closed',
      segmentId: segment.id,
      dataBytes: goodBytes,
      salt: segment.salt,
    })
  }

  #shelve(known: ManifestSegment, dataBytes: number, state: ManifestSegment['state']): Segment {
    return this.#shelf.add({
      id: known.segmentId,
      state,
      salt: known.salt,
      dataBytes,
      objectId: known.objectId,
      firstId: known.firstId,
    })
  }

  #cutAt(segmentId: number, endBytes: number): void {
    this.#isWhole = false
    this.#cuts.push({ segmentId, endBytes })
  }

  /** Not one entry of it counts. */
  #void(segment: Segment): void {
    this.#voided.push(segment)
    this.#lastEndBytes = 0
  }

  /** The manifest calls it gone; bytes that are there are kept aside. */
  #remove(segment: Segment): void {
    const { directory, context } = this.#shelf
    const { id: segmentId, dataBytes, dataPath } = segment
    if (dataBytes > FileHeader.sizeBytes) {
      context.log.warn('segment.cut', { directory, segmentId, goodBytes: 0, cutBytes: dataBytes })
      context.storage.rename(dataPath, cutPath(directory, `d${segmentId}`, 0))
      this.#shelf.cuts.add(dataBytes)
    }
    this.#shelf.dropFile(segment)
    segment.state = 'gone'
    this.#shelf.remove(segment)
  }

  /** Takes off what does not count, and keeps it aside for whoever wants to look. */
  async #cut(segment: Segment, file: ReadFile, goodBytes: number): Promise<void> {
    const { directory, context } = this.#shelf
    const { storage, log, room } = context
    const cutBytes = segment.dataBytes - goodBytes
    log.warn('segment.cut', { directory, segmentId: segment.id, goodBytes, cutBytes })
    await storage.publish(cutPath(directory, `d${segment.id}`, goodBytes), [file.readSync(goodBytes, cutBytes)])
    this.#shelf.cuts.add(cutBytes)
    {
      using tail = storage.openAppend(segment.dataPath)
      tail.truncate(goodBytes)
    }
    segment.dataBytes = goodBytes
    room.give(cutBytes)
  }

  #replay(segment: Segment, file: ReadFile, bounds: Bounds) {
    const { directory, context } = this.#shelf
    const entries = new HintEntries()
    const { goodBytes, damage, nextId } =
      segment.salt === null
        ? this.#zdb.replay(this.#catalog, segment, file, { ...bounds, nextId: this.#nextId }, entries)
        : this.#replayOwn(segment, file, bounds, entries)
    this.#nextId = nextId
    for (const range of damage) context.log.error('segment.damaged', { directory, segmentId: segment.id, ...range })
    if (bounds.endBytes !== undefined && goodBytes < bounds.endBytes) {
      context.log.error('segment.ends_early', {
        directory,
        segmentId: segment.id,
        goodBytes,
        endBytes: bounds.endBytes,
      })
    }
    return { goodBytes, isClean: damage.length === 0, entries }
  }

  #replayOwn(segment: Segment, file: ReadFile, bounds: Bounds, entries: HintEntries) {
    let nextId = this.#nextId
    const result = replaySegment(this.#catalog, segment, file, bounds, record => {
      entries.add(record)
      if (record.tombstone === null && !record.copied) nextId++
    })
    // Ids of the entries lost there were given: skip as many as can have been.
    for (const { fromBytes, toBytes } of result.damage) nextId += Math.ceil((toBytes - fromBytes) / entryBytes(8, 0))
    return { ...result, nextId }
  }

  /** Applies the entries of a hint, with a pause for others after each slice of them. */
  async #load({ id, life }: Segment, hint: HintCursor): Promise<void> {
    for (let count = 1; hint.next(); count++) {
      if (!hint.isNewValue || !this.#catalog.add(hint, life)) this.#apply(id, hint.record)
      if (count % entriesPerSlice === 0) await turn()
    }
  }

  #apply(segmentId: number, { key, tombstone, copied, ...location }: HintRecord): void {
    if (tombstone !== null) this.#catalog.delete(key, segmentId, tombstone)
    else if (copied) this.#catalog.copy(key, { ...location, segmentId })
    else this.#catalog.put(key, { ...location, segmentId })
  }
}

/** Lets others run. */
function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** Whether the file begins as the segment should. One that 0-db appended to has lost its mark, and its entries their check. */
function checkHeader({ directory, context: { storage, log } }: Shelf, segment: Segment): boolean {
  if (storage.sizeBytes(segment.dataPath) === null) return false
  using file = storage.openRead(segment.dataPath)
  try {
    const identity = decodeFileHeader(file.readSync(0, FileHeader.sizeBytes))
    if (identity.segmentId !== segment.id) return false
    if (identity.salt === null) segment.salt = null
    return identity.salt === segment.salt
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    log.warn('segment.header_damaged', { directory, segmentId: segment.id, error })
    return false
  }
}
