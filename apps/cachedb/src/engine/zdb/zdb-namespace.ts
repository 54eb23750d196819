import { basename } from 'node:path'
import { WireLimit } from '@qsfs/protocol/cachedb-commands'
import type { HintEntries, HintRecord } from '../../segment/hint-format.ts'
import type { ScannedFile, ScanResult } from '../../segment/recover.ts'
import { scanForeign } from '../../segment/zdb/data-scan.ts'
import type { EngineContext } from '../context.ts'
import type { Catalog } from '../keydir/catalog.ts'
import type { KeyMode } from '../namespace.ts'
import type { Segment } from '../shelf/segment.ts'
import { ZdbIds } from './zdb-ids.ts'
import { ZdbIndex } from './zdb-index.ts'

/** A namespace whose data files, or some of them, 0-db wrote: they have no check of ours, and its index may be at hand. */
export class ZdbNamespace {
  readonly #ids: ZdbIds
  readonly #index: ZdbIndex | null

  constructor(index: ZdbIndex | null, mode: KeyMode) {
    this.#index = index
    this.#ids = new ZdbIds(mode === 'sequential')
  }

  /** @param indexRoot null when not told */
  static open(directory: string, indexRoot: string | null, mode: KeyMode, { storage }: EngineContext): ZdbNamespace {
    return new ZdbNamespace(indexRoot === null ? null : ZdbIndex.open(storage, indexRoot, basename(directory)), mode)
  }

  /** The next id behind all files of 0-db: as its index says, or as was counted. */
  continued(counted: number): number {
    const told = this.#index?.baseOf(this.#index.fileCount) ?? null
    return told === null ? counted : Math.max(told, this.#ids.highest + 1)
  }

  /** Applies the entries of one data file to the catalog, in their order, and collects what its hint says.
   *  @param place `nextId`: before this file, as far as known */
  replay(
    catalog: Catalog,
    segment: Segment,
    file: ScannedFile,
    { endBytes = file.sizeBytes, nextId }: { readonly endBytes?: number; readonly nextId: number },
    entries: HintEntries,
  ): ScanResult & { readonly nextId: number } {
    const ids = this.#ids
    ids.begin(this.#index?.baseOf(segment.id) ?? nextId)
    const foreign = {
      endBytes,
      isKey: (key: Buffer) => ids.isKey(key),
      indexed: () => this.#index?.valuesIn(segment.id) ?? [],
    }
    const apply = ({ key, isDeletion, copied, ...place }: Applied) => {
      const tombstone = isDeletion ? catalog.tombstoneOf(key, segment.id) : null
      const location = { ...place, segmentId: segment.id }
      if (tombstone !== null) catalog.delete(key, segment.id, tombstone)
      else if (copied) catalog.copy(key, location)
      else {
        ids.put(key, catalog.find(key) !== null)
        catalog.put(key, location)
      }
      entries.add({ key, ...place, tombstone, copied })
    }
    const result = scanForeign(file, foreign, {
      entry: ({ key, value, valueCrc, offsetBytes, timestampSeconds, deleted: isDeletion, copied }) =>
        apply({ key, offsetBytes, valueBytes: value.length, valueCrc, timestampSeconds, isDeletion, copied }),
      // A reader shall hear that it is damaged: it must not be given an older value.
      lost: ({ key, offsetBytes, valueBytes, valueCrc, timestampSeconds, isDead: isDeletion }) => {
        const isPossible = key.length > 0 && ids.isKey(key) && valueBytes <= WireLimit.bulkBytesMax
        if (isPossible) apply({ key, offsetBytes, valueBytes, valueCrc, timestampSeconds, isDeletion, copied: false })
      },
      leftover: () => ids.leftover(),
    })
    const skippedBytes = result.damage.reduce((sum, { fromBytes, toBytes }) => sum + toBytes - fromBytes, 0)
    ids.skipped(skippedBytes + Math.max(0, endBytes - result.goodBytes))
    return { ...result, nextId: ids.nextId }
  }
}

type Applied = Omit<HintRecord, 'tombstone'> & { readonly isDeletion: boolean }
