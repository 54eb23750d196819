import { StorError } from '../errors.ts'
import type { FrameEntry, ObjectRecord } from '../metadata/object-record.ts'
import { createPart, type PartFile } from '../segment-file.ts'
import { digestOf, type StreamDigest } from './digest.ts'
import type { Slot } from './frame-pool.ts'
import { ObjectReader, type ReadContext } from './object-reader.ts'

export interface RetrieveTarget {
  readonly path: string
  /** Where the object's attachment goes, if it is wanted. */
  readonly attachmentPath?: string
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** A file or an attachment: which frames hold it, and what it must be. */
interface Part {
  readonly firstFrame: number
  readonly frames: readonly FrameEntry[]
  readonly sizeBytes: number
  readonly sha256: Buffer
}

/** Record → first k good shards → frames → file. The file (and the attachment before it) appears under its path whole, on
 *  disk and with the SHA-256 that was stored, or not at all.
 *  @throws StorError 'too-few-shards', 'wrong-key', 'damaged', 'not-found', 'file'; the signal's reason when aborted */
export async function retrieveObject(
  record: ObjectRecord,
  { path, attachmentPath, onProgress }: RetrieveTarget,
  context: ReadContext,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const reader = new ObjectReader(record, context)
  const wanted = [{ part: filePart(record), path }]
  if (attachmentPath !== undefined) wanted.unshift({ part: attachmentPart(record), path: attachmentPath })
  const totalBytes = wanted.reduce((sum, { part }) => sum + part.sizeBytes, 0)
  let doneBytes = 0
  await using written = new AsyncDisposableStack()
  const files: PartFile[] = []
  for (const { part, path } of wanted) {
    const file = written.use(await createPart(path, record.objectId, part.sizeBytes))
    const { sha256 } = await digestOf(context.pool, { blake2b: false }, digest =>
      writeFrames(reader, record, part, file, digest, signal, plainBytes => {
        doneBytes += plainBytes
        onProgress?.(doneBytes, totalBytes)
      }),
    )
    if (!part.sha256.equals(sha256))
      throw new StorError('damaged', `what was retrieved for ${path} is not what was stored`)
    files.push(file)
  }
  signal?.throwIfAborted()
  for (const file of files) await file.publish()
}

/** Bytes [offset, offset + length) of a file or an attachment, cut at its end. */
export interface Range {
  readonly of: 'file' | 'attachment'
  readonly offsetBytes: number
  readonly lengthBytes: number
}

/** The bytes of a range. Only the frames that hold them are read; pieces and frames are verified, the whole's SHA-256
 *  cannot be.
 *  @throws as retrieveObject */
export async function readRange(
  record: ObjectRecord,
  range: Range,
  context: ReadContext,
  options: { readonly signal?: AbortSignal } = {},
): Promise<Buffer> {
  const pieces: Buffer[] = []
  await eachOfRange(record, range, context, options, async bytes => {
    pieces.push(Buffer.from(bytes))
  })
  return Buffer.concat(pieces)
}

/** As readRange, into a file, which appears whole or not at all; in memory is one frame.
 *  @returns how many bytes it has
 *  @throws as retrieveObject */
export async function retrieveRange(
  record: ObjectRecord,
  { path, range, onProgress }: Pick<RetrieveTarget, 'path' | 'onProgress'> & { readonly range: Range },
  context: ReadContext,
  options: { readonly signal?: AbortSignal } = {},
): Promise<number> {
  const totalBytes = Math.max(0, Math.min(range.lengthBytes, partOf(record, range.of).sizeBytes - range.offsetBytes))
  await using file = await createPart(path, record.objectId, totalBytes)
  let doneBytes = 0
  await eachOfRange(record, range, context, options, async bytes => {
    await file.write(bytes, doneBytes)
    doneBytes += bytes.length
    onProgress?.(doneBytes, totalBytes)
  })
  options.signal?.throwIfAborted()
  await file.publish()
  return totalBytes
}

/** Lends the bytes of a range in order, frame by frame. */
async function eachOfRange(
  record: ObjectRecord,
  { of, offsetBytes, lengthBytes }: Range,
  context: ReadContext,
  options: { readonly signal?: AbortSignal },
  use: (bytes: Buffer) => Promise<void>,
): Promise<void> {
  const part = partOf(record, of)
  const reader = new ObjectReader(record, context)
  const endBytes = Math.min(offsetBytes + lengthBytes, part.sizeBytes)
  const { frameBytes } = record
  for (let atBytes = offsetBytes; atBytes < endBytes; ) {
    const index = Math.floor(atBytes / frameBytes)
    const frameAt = index * frameBytes
    const [from, to] = [atBytes - frameAt, endBytes - frameAt]
    await reader.lendFrame(
      part.firstFrame + index,
      (plain: Slot, plainBytes) => use(plain.bytes.subarray(from, Math.min(to, plainBytes))),
      options,
    )
    atBytes = frameAt + frameBytes
  }
}

/** zstor's checksum of the file, from its frames, which must have the SHA-256 that was stored.
 *  @throws as retrieveObject */
export async function checksumOf(
  record: ObjectRecord,
  context: ReadContext,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Buffer> {
  const reader = new ObjectReader(record, context)
  const { sha256, blake2b } = await digestOf(context.pool, { blake2b: true }, async digest => {
    for (const [index] of record.frames.entries()) {
      await reader.lendFrame(index, (plain, plainBytes) => digest.update(plain, 0, plainBytes), { signal })
    }
  })
  if (!record.sha256.equals(sha256)) throw new StorError('damaged', 'the object is not what was stored')
  return Buffer.from(blake2b!)
}

function partOf(record: ObjectRecord, of: Range['of']): Part {
  return of === 'file' ? filePart(record) : attachmentPart(record)
}

function filePart({ frames, sizeBytes, sha256 }: ObjectRecord): Part {
  return { firstFrame: 0, frames, sizeBytes, sha256 }
}

function attachmentPart({ attachment, frames, objectId }: ObjectRecord): Part {
  if (attachment === null) throw new StorError('not-found', `object ${objectId.toString('hex')} has no attachment`)
  return { ...attachment, firstFrame: frames.length }
}

/** Several frames at once; the digest gets them in their order. */
async function writeFrames(
  reader: ObjectReader,
  { frameBytes }: ObjectRecord,
  part: Part,
  file: PartFile,
  digest: StreamDigest,
  signal: AbortSignal | undefined,
  onFrame: (plainBytes: number) => void,
): Promise<void> {
  const queue = part.frames.keys()
  let failed = false
  let lastTurn = Promise.resolve()
  const lane = async () => {
    for (const index of queue) {
      if (failed) return
      signal?.throwIfAborted()
      const turn = lastTurn
      const { promise: ended, resolve: endTurn } = Promise.withResolvers<void>()
      lastTurn = ended
      const target = { fd: file.fd, positionBytes: index * frameBytes }
      const digestFrame = async (plain: Slot, plainBytes: number) => {
        file.wrote(plainBytes)
        await turn
        const digested = digest.update(plain, 0, plainBytes)
        endTurn()
        await digested
        onFrame(plainBytes)
      }
      try {
        await reader.lendFrame(part.firstFrame + index, digestFrame, { target, signal })
      } finally {
        endTurn()
      }
    }
  }
  const lanes = Array.from({ length: lanesMax }, () =>
    lane().catch(error => {
      failed = true
      throw error
    }),
  )
  // All of them, before the file is closed: a worker may still be writing to it.
  const outcomes = await Promise.allSettled(lanes)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** Frames of one object on their way at once; the pool's slots bound all objects together. */
const lanesMax = 4
