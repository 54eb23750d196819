import type { Inode } from '../tree/inode.ts'
import type { DirtyWindow } from './dirty-window.ts'
import { windowBytes } from './extents.ts'

/** A window could not be stored for a reason that lies in its file. The cause is what the caller is to be told. */
export class FileFailure extends Error {
  constructor(cause: unknown) {
    super('a file cannot be stored', { cause })
  }
}

/** The unwritten bytes of one file, by window: those that may still change, and those on their way to the store. */
export class FileBuffer {
  readonly inode: Inode
  readonly bornMs: number
  readonly windows = new Map<number, DirtyWindow>()
  readonly flushing = new Map<number, DirtyWindow>()
  /** Why this file, and maybe no other, cannot be stored: nothing of it is tried before `retryFromMs`. */
  failure: unknown = null
  retryFromMs = 0

  constructor(inode: Inode, bornMs: number) {
    this.inode = inode
    this.bornMs = bornMs
  }

  get isEmpty(): boolean {
    return this.windows.size === 0 && this.flushing.size === 0
  }

  /** Every byte has an extent: what is still here is on its way out. */
  get isNamed(): boolean {
    return this.windows.size === 0 && [...this.flushing.values()].every(window => window.isNamed)
  }

  /** Bytes that are here, as stat counts them until they have extents. */
  get dirtyBytes(): number {
    let bytes = 0
    for (const window of this.windows.values()) for (const { start, end } of window.ranges) bytes += end - start
    for (const window of this.flushing.values()) for (const { start, end } of window.ranges) bytes += end - start
    return bytes
  }

  /** The layers over the extents of a window, oldest first. */
  layers(index: number): DirtyWindow[] {
    const older = this.flushing.get(index)
    const newer = this.windows.get(index)
    return older === undefined ? (newer === undefined ? [] : [newer]) : newer === undefined ? [older] : [older, newer]
  }

  /** Forgets [start, end) of the file, also of what is on its way: its flush will find less to name. */
  subtract(start: number, end: number): void {
    for (const windows of [this.windows, this.flushing]) {
      for (const window of windows.values()) {
        if (window.offset < end && window.offset + windowBytes > start) {
          window.subtract(Math.max(0, start - window.offset), Math.min(windowBytes, end - window.offset))
        }
      }
    }
  }
}
