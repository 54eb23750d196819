import assert from 'node:assert'
import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import type { ManifestRecord } from '../../segment/manifest-format.ts'
import { type SegmentEvent, transitionOf } from './segment-state.ts'

export type StoredSettings = Omit<Extract<ManifestRecord, { type: 'settings' }>, 'type'>

type SegmentRecord = Extract<ManifestRecord, { segmentId: number }>

/** A segment as the manifest knows it. */
export interface ManifestSegment {
  readonly segmentId: number
  state: SegmentState
  salt: number | null
  /** The next sequential id when it opened. */
  firstId: number
  /** Where the segment opened after it says it ends; null while it is the last. */
  endBytes: number | null
  /** A lower bound of what is on disk. */
  syncedBytes: number
  /** From `closed` on. */
  dataBytes: number
  objectId: string | null
  /** A store hook was under way when it was flushed: it may have an object whose id nobody heard. */
  isInDoubt: boolean
}

/** All records of a manifest, folded. `gone` segments stay while the deletion of their object is owed, or may be. */
export class ManifestState {
  incarnation: Buffer
  settings: StoredSettings | null = null
  readonly segments = new Map<number, ManifestSegment>()
  /** -1 before the first. */
  lastSegmentId = -1
  dropping = false
  epoch = 0
  point = 0

  constructor(incarnation: Buffer) {
    this.incarnation = incarnation
  }

  apply(record: ManifestRecord): void {
    if ('segmentId' in record) this.#applyToSegment(record)
    else this.#applyToNamespace(record)
  }

  /** Tries the records on a copy of what they touch: one that does not fold must not reach the file, where every start would meet it.
   *  @throws AssertionError, nothing having changed */
  assertFolds(records: readonly ManifestRecord[]): void {
    const copy = new ManifestState(this.incarnation)
    copy.lastSegmentId = this.lastSegmentId
    const touched = records.map(record => ('segmentId' in record ? record.segmentId : this.lastSegmentId))
    for (const segmentId of [this.lastSegmentId, ...touched]) {
      const segment = this.segments.get(segmentId)
      if (segment !== undefined) copy.segments.set(segmentId, { ...segment })
    }
    for (const record of records) copy.apply(record)
  }

  /** The shortest list of records that folds to this state. */
  records(): readonly ManifestRecord[] {
    const records: ManifestRecord[] = []
    if (this.settings !== null) records.push({ type: 'settings', ...this.settings })
    if (this.epoch > 0 || this.point > 0) records.push({ type: 'point', epoch: this.epoch, point: this.point })
    let previousEndBytes = 0
    for (const segment of this.segments.values()) {
      records.push(...segmentRecords(segment, previousEndBytes))
      previousEndBytes = segment.endBytes ?? 0
    }
    if (this.dropping) records.push({ type: 'dropping' })
    return records
  }

  #applyToNamespace(record: Exclude<ManifestRecord, SegmentRecord>): void {
    switch (record.type) {
      case 'settings': {
        const { type: _, ...settings } = record
        this.settings = settings
        break
      }
      case 'dropping':
        this.dropping = true
        break
      case 'flushed':
        this.incarnation = record.incarnation
        for (const segment of this.segments.values()) {
          segment.state = 'gone'
          if (segment.objectId === null && !segment.isInDoubt) this.segments.delete(segment.segmentId)
        }
        break
      case 'point':
        this.epoch = record.epoch
        this.point = record.point
        break
      default:
        record satisfies never
    }
  }

  #applyToSegment(record: SegmentRecord): void {
    if (record.type === 'opens') this.#open(record)
    // Also of an object that was printed after its segment was flushed.
    if (record.type === 'deleted') return void this.segments.delete(record.segmentId)
    const segment = this.#segment(record.segmentId)
    switch (record.type) {
      case 'opens':
        break
      case 'ends':
        segment.endBytes = record.endBytes
        break
      case 'synced':
        segment.syncedBytes = record.syncedBytes
        break
      case 'closed':
        segment.dataBytes = record.dataBytes
        segment.salt = record.salt
        move(segment, 'closed', 'closed')
        break
      case 'stored':
        segment.objectId = record.objectId
        move(segment, segment.state === 'absent' ? 'restored' : 'objectPrinted', 'stored')
        break
      case 'absent':
        move(segment, 'evicted', 'absent')
        break
      case 'storing':
        segment.isInDoubt = true
        break
      case 'gone':
        segment.objectId = record.objectId
        move(segment, segment.state === 'open' ? 'voided' : 'died', 'gone')
        if (record.objectId === null && !segment.isInDoubt) this.segments.delete(record.segmentId)
        break
      default:
        record satisfies never
    }
  }

  #open(record: Extract<ManifestRecord, { type: 'opens' }>): void {
    const previous = this.segments.get(this.lastSegmentId)
    if (previous !== undefined && previous.state === 'open') previous.endBytes = record.previousEndBytes
    assert(record.segmentId > this.lastSegmentId, `segment ${record.segmentId} opens after ${this.lastSegmentId}`)
    this.lastSegmentId = record.segmentId
    this.segments.set(record.segmentId, {
      segmentId: record.segmentId,
      state: 'open',
      salt: record.salt,
      firstId: record.nextId,
      endBytes: null,
      syncedBytes: 0,
      dataBytes: 0,
      objectId: null,
      isInDoubt: false,
    })
  }

  #segment(segmentId: number): ManifestSegment {
    const segment = this.segments.get(segmentId)
    assert(segment !== undefined, `the manifest speaks of segment ${segmentId}, which never opened`)
    return segment
  }
}

/** A record whose sync failed is appended again: the second time changes nothing. */
function move(segment: ManifestSegment, event: SegmentEvent, to: SegmentState): void {
  if (segment.state !== to) segment.state = transitionOf(segment.state, event).to
}

function segmentRecords(segment: ManifestSegment, previousEndBytes: number): readonly ManifestRecord[] {
  const { segmentId, salt, objectId } = segment
  const records: ManifestRecord[] = [
    { type: 'opens', segmentId, salt: salt ?? 0, previousEndBytes, nextId: segment.firstId },
  ]
  if (segment.state === 'open') {
    if (segment.endBytes !== null) records.push({ type: 'ends', segmentId, endBytes: segment.endBytes })
    if (segment.syncedBytes > 0) records.push({ type: 'synced', segmentId, syncedBytes: segment.syncedBytes })
    return records
  }
  records.push({ type: 'closed', segmentId, dataBytes: segment.dataBytes, salt })
  // It was cut before it was closed: nothing opened behind it counts.
  if (segment.endBytes !== null && segment.endBytes !== segment.dataBytes) {
    records.push({ type: 'ends', segmentId, endBytes: segment.endBytes })
  }
  if (segment.state === 'closed') return records
  if (segment.state === 'gone') {
    if (segment.isInDoubt) records.push({ type: 'storing', segmentId })
    return [...records, { type: 'gone', segmentId, objectId }]
  }
  assert(objectId !== null, `segment ${segmentId} is ${segment.state} without an object`)
  records.push({ type: 'stored', segmentId, objectId })
  if (segment.state === 'absent') records.push({ type: 'absent', segmentId, objectId })
  return records
}
