import type { Clock } from '@qsfs/concurrency/clock'
import { FuseError } from '@qsfs/fuse/errno'
import type { MaybePromise } from '@qsfs/fuse/filesystem'
import type { Inode } from '../tree/inode.ts'
import { DirtyWindow, type WindowMemory } from './dirty-window.ts'
import { windowBytes } from './extents.ts'
import { FileBuffer, FileFailure } from './file-buffer.ts'
import { WriteQueue } from './write-queue.ts'

export interface WriteBufferLimits {
  /** Memory for bytes that are not stored yet. */
  readonly dirtyBytesMax: number
  /** Memory for writes that wait for room in it. */
  readonly waitingBytesMax: number
  /** How long such a write waits before it fails. */
  readonly writeWaitMs: number
  /** Windows on their way to the store at once. */
  readonly flushesMax: number
  /** Windows that do not get full are stored after this long. */
  readonly flushDelayMs: number
  /** Called when a file gets bytes after it had none that wait here. */
  readonly onFirstBytes?: (inode: Inode) => void
}

/** Stores one window: when it settles, the running transaction names what is left of the window's ranges.
 *  Rejects with a FileFailure when other files may fare better. */
export type StoreWindow = (inode: Inode, window: DirtyWindow) => Promise<void>

interface ReadyWindow {
  readonly file: FileBuffer
  readonly window: DirtyWindow
}

/** After a failed flush nothing (of that file, if it is to blame) is tried for this long; writes that come meanwhile are
 *  told why. */
const pauseMs = 1000

/** Bytes that were written and are not stored yet. Bounded; what finds no room waits in a queue, with a deadline.
 *  Bytes that cannot be stored are kept and tried again, so an fsync fails as long as they are not stored, and not longer. */
export class WriteBuffer implements AsyncDisposable {
  readonly #clock: Clock
  readonly #memory: WindowMemory
  readonly #store: StoreWindow
  readonly #limits: WriteBufferLimits
  readonly #files = new Set<FileBuffer>()
  /** Those that may have windows which are in no queue. */
  readonly #idle = new Set<FileBuffer>()
  /** Files that were cut to nothing since the last transaction. */
  readonly #emptied = new Set<Inode>()
  readonly #waiting: WriteQueue
  /** First come, first served. Thousands of small windows may wait: who takes one does not move the others. */
  readonly #ready = new Set<ReadyWindow>()
  #flushes = 0
  #failure: unknown = null
  #cancelTick: (() => void) | null = null
  #isClosed = false

  constructor(clock: Clock, memory: WindowMemory, store: StoreWindow, limits: WriteBufferLimits) {
    this.#clock = clock
    this.#memory = memory
    this.#store = store
    this.#limits = limits
    this.#waiting = new WriteQueue(clock, { bytesMax: limits.waitingBytesMax, waitMs: limits.writeWaitMs })
  }

  /** Memory that they hold. */
  get dirtyBytes(): number {
    return this.#memory.takenBytes
  }
  /** Files with bytes here. */
  get nodeIds(): readonly number[] {
    return Array.from(this.#files, ({ inode }) => inode.nodeId)
  }
  get waitingBytes(): number {
    return this.#waiting.sizeBytes
  }
  /** Why the last flush failed; null when it did not. */
  get failure(): unknown {
    return this.#failure
  }

  /** Takes a copy of `data`. When the buffer is over its limit the answer waits, not the copy: what waits is bounded by
   *  what the kernel has under way, and goes into the same windows.
   *  @throws FuseError what the last flush failed with, or the deadline */
  write(inode: Inode, offset: number, data: Uint8Array): MaybePromise<void> {
    const failure = this.#failure ?? inode.buffer?.failure ?? null
    if (failure !== null) throw failure
    this.#waiting.requireRoom(this.#hasRoom(data.length) ? 0 : data.length)
    this.#requireMemory()
    const mayGoOn = this.#waiting.isEmpty && this.#hasRoom(data.length)
    this.#put(inode, offset, data)
    if (mayGoOn) return
    const waiting = this.#waiting.wait(data.length)
    this.#enqueueAll()
    return waiting
  }

  /** [start, end) of the file is forgotten: cut off, or punched. */
  subtract(inode: Inode, start: number, end: number): void {
    const file = inode.buffer
    if (file === null) return
    file.subtract(start, end)
    for (const window of [...file.windows.values()]) {
      if (window.ranges.length > 0) continue
      file.windows.delete(window.index)
      window.release()
      window.settle(null)
    }
    this.#closeIfEmpty(file)
    this.#waiting.admit(bytes => this.#hasRoom(bytes))
  }

  /** Everything written to the file so far has extents when this settles.
   *  @throws FuseError why that could not be */
  flush(inode: Inode): MaybePromise<void> {
    const file = inode.buffer
    if (file === null) return
    const flushes = this.#flushFile(file)
    return Promise.all(flushes).then(() => undefined)
  }

  /** The file had bytes, and is cut to nothing. */
  noteEmptied(inode: Inode): void {
    if (this.#emptied.has(inode)) return
    this.#emptied.add(inode)
    inode.pins++
  }

  /** Cut to nothing since the last transaction: until the next one a crash may leave it so. */
  isEmptied(inode: Inode): boolean {
    return this.#emptied.has(inode)
  }

  /** To be awaited before a transaction: files that were emptied and written anew get their new bytes into the same one, so
   *  that a crash leaves the old file or the new one. What fails is kept, and told to whoever syncs that file. */
  async flushRewritten(): Promise<void> {
    if (this.#emptied.size === 0) return
    const rewritten = [...this.#emptied].flatMap(({ buffer }) => (buffer === null ? [] : [buffer]))
    for (const inode of this.#emptied) inode.pins--
    this.#emptied.clear()
    await Promise.allSettled(rewritten.flatMap(file => this.#flushFile(file)))
  }

  /** The same for all files. */
  async flushAll(): Promise<void> {
    await Promise.all([...this.#files].flatMap(file => this.#flushFile(file)))
  }

  /** Stores what it can and stops its timer. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#cancelTick?.()
    this.#failure = null
    await this.flushAll()
  }

  /** Bytes of writes that failed stay here too: while nothing can be stored, they must not add up for ever. Twice, because
   *  windows take their memory in steps.
   *  @throws FuseError EIO */
  #requireMemory(): void {
    const bytesMax = 2 * (this.#limits.dirtyBytesMax + this.#limits.waitingBytesMax)
    if (this.dirtyBytes > bytesMax) throw new FuseError('EIO', 'what was written before cannot be stored')
  }

  /** Bytes whose writers wait count as not yet here. */
  #hasRoom(bytes: number): boolean {
    return this.dirtyBytes - this.#waiting.sizeBytes + bytes <= this.#limits.dirtyBytesMax
  }

  get #isPressed(): boolean {
    return this.dirtyBytes > this.#limits.dirtyBytesMax / 2
  }

  #put(inode: Inode, offset: number, data: Uint8Array): void {
    const file = inode.buffer ?? this.#open(inode)
    const now = this.#clock.monotonicMs()
    for (let at = 0; at < data.length; ) {
      const index = Math.floor((offset + at) / windowBytes)
      const from = offset + at - index * windowBytes
      const length = Math.min(windowBytes - from, data.length - at)
      let window = file.windows.get(index)
      if (window === undefined) {
        window = new DirtyWindow(index, now, this.#memory)
        file.windows.set(index, window)
      }
      window.write(from, length === data.length ? data : data.subarray(at, at + length))
      if (window.isFull || this.#isPressed) this.#enqueue(file, window)
      else if (!window.isQueued) this.#idle.add(file)
      at += length
    }
    if (this.#isPressed) this.#enqueueAll()
    else this.#pump()
    this.#armTick()
  }

  #open(inode: Inode): FileBuffer {
    const file = new FileBuffer(inode, this.#clock.monotonicMs())
    inode.buffer = file
    inode.pins++
    this.#files.add(file)
    this.#limits.onFirstBytes?.(inode)
    return file
  }

  #closeIfEmpty(file: FileBuffer): void {
    if (!file.isEmpty || file.inode.buffer !== file) return
    file.inode.buffer = null
    file.inode.pins--
    this.#files.delete(file)
    this.#idle.delete(file)
  }

  #enqueue(file: FileBuffer, window: DirtyWindow): void {
    if (window.isQueued) return
    window.isQueued = true
    this.#ready.add({ file, window })
  }

  #flushFile(file: FileBuffer): Promise<void>[] {
    // Whoever asks now wants to know whether it works now.
    file.failure = null
    const flushes = [...file.flushing.values(), ...file.windows.values()].map(window => window.whenFlushed())
    this.#enqueueFile(file)
    this.#pump()
    return flushes
  }

  #enqueueAll(): void {
    for (const file of this.#idle) this.#enqueueFile(file)
    for (const file of this.#idle) if (file.failure === null) this.#idle.delete(file)
    this.#pump()
  }

  /** From low to high: the stored size then grows without holes. */
  #enqueueFile(file: FileBuffer): void {
    if (file.failure !== null) return
    const idle = [...file.windows.values()].filter(({ isQueued }) => !isQueued)
    for (const window of idle.sort((a, b) => a.index - b.index)) this.#enqueue(file, window)
  }

  #pump(): void {
    for (const ready of this.#ready) {
      if (this.#flushes >= this.#limits.flushesMax) return
      const { file, window } = ready
      const isStale = file.windows.get(window.index) !== window
      // One flush of a window at a time, so that the newer bytes get the later extents.
      if (!isStale && file.flushing.has(window.index)) continue
      this.#ready.delete(ready)
      if (!isStale) void this.#flushWindow(file, window)
    }
  }

  async #flushWindow(file: FileBuffer, window: DirtyWindow): Promise<void> {
    const { inode } = file
    file.windows.delete(window.index)
    file.flushing.set(window.index, window)
    window.isQueued = false
    this.#flushes++
    const failure = await this.#store(inode, window).then(
      () => null,
      error => error as unknown,
    )
    this.#flushes--
    file.flushing.delete(window.index)
    if (failure === null) {
      window.release()
      this.#failure = null
      file.failure = null
    } else this.#keep(file, window)
    this.#closeIfEmpty(file)
    window.settle(failure instanceof FileFailure ? failure.cause : failure)
    if (failure === null) this.#waiting.admit(bytes => this.#hasRoom(bytes))
    else if (failure instanceof FileFailure) this.#pauseFile(file, failure.cause)
    else this.#pause(failure)
    this.#pump()
  }

  /** The bytes could not be stored: they lie under what was written since. */
  #keep(file: FileBuffer, window: DirtyWindow): void {
    const newer = file.windows.get(window.index)
    if (newer === undefined) {
      file.windows.set(window.index, window)
      this.#idle.add(file)
      return
    }
    newer.underlay(window)
    window.release()
  }

  #pause(failure: unknown): void {
    this.#failure = failure
    this.#waiting.reject(failure)
    this.#stop(this.#ready, failure)
    this.#armTick()
  }

  /** Its bytes stay, and count; who waits for room because of them has a deadline. */
  #pauseFile(file: FileBuffer, failure: unknown): void {
    file.failure = failure
    file.retryFromMs = this.#clock.monotonicMs() + pauseMs
    this.#stop(
      this.#ready.values().filter(ready => ready.file === file),
      failure,
    )
    this.#armTick()
  }

  #stop(stopped: Iterable<ReadyWindow>, failure: unknown): void {
    for (const ready of stopped) {
      const { file, window } = ready
      this.#ready.delete(ready)
      window.isQueued = false
      this.#idle.add(file)
      window.settle(failure)
    }
  }

  #armTick(): void {
    if (this.#cancelTick !== null || this.#isClosed) return
    const delayMs = this.#failure === null ? this.#limits.flushDelayMs / 2 : pauseMs
    this.#cancelTick = this.#clock.schedule(delayMs, () => {
      this.#cancelTick = null
      this.#tick()
    })
  }

  #tick(): void {
    // The namespaces belong to somebody else now, or are not what they were: that does not heal, and every write is told.
    if (this.#failure instanceof FuseError && this.#failure.code === 'EROFS') return
    const isRetry = this.#failure !== null
    this.#failure = null
    const nowMs = this.#clock.monotonicMs()
    for (const file of this.#files) {
      const isFileRetry = file.failure !== null
      if (isFileRetry && nowMs < file.retryFromMs) continue
      file.failure = null
      const bornBefore = nowMs - (isRetry || isFileRetry ? 0 : this.#limits.flushDelayMs)
      for (const window of file.windows.values()) if (window.bornMs <= bornBefore) this.#enqueue(file, window)
    }
    this.#pump()
    if (this.#files.size > 0) this.#armTick()
  }
}
