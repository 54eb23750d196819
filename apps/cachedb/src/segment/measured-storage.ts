import type { Clock } from '@qsfs/concurrency/clock'
import type { BulkPool } from '@qsfs/resp/bulk-pool'
import type { DiskStats } from '../server-stats.ts'
import { DiskStorage } from './disk-storage.ts'
import type { AppendFile, ReadFile } from './storage.ts'

/** The real disk, counting what goes through its files for INFO. */
export class MeasuredStorage extends DiskStorage {
  readonly #stats: DiskStats
  readonly #clock: Clock

  constructor(stats: DiskStats, pool: BulkPool, clock: Clock) {
    super(pool)
    this.#stats = stats
    this.#clock = clock
  }

  override openAppend(path: string): AppendFile {
    return new MeasuredAppendFile(super.openAppend(path), this.#stats, this.#clock)
  }

  override openRead(path: string): ReadFile {
    return new MeasuredReadFile(super.openRead(path), this.#stats)
  }
}

class MeasuredAppendFile implements AppendFile {
  readonly #inner: AppendFile
  readonly #stats: DiskStats
  readonly #clock: Clock

  constructor(inner: AppendFile, stats: DiskStats, clock: Clock) {
    this.#inner = inner
    this.#stats = stats
    this.#clock = clock
  }

  get path(): string {
    return this.#inner.path
  }

  get sizeBytes(): number {
    return this.#inner.sizeBytes
  }

  append(parts: readonly Uint8Array[]): number {
    try {
      const writtenBytes = this.#inner.append(parts)
      this.#stats.bytesWritten += writtenBytes
      return writtenBytes
    } catch (error) {
      this.#stats.writesFailed++
      throw error
    }
  }

  truncate(sizeBytes: number): void {
    this.#inner.truncate(sizeBytes)
  }

  async sync(): Promise<void> {
    const startMs = this.#clock.monotonicMs()
    try {
      await this.#inner.sync()
    } catch (error) {
      this.#stats.syncsFailed++
      throw error
    } finally {
      this.#stats.syncs.observe((this.#clock.monotonicMs() - startMs) / 1000)
    }
  }

  readSync(offsetBytes: number, lengthBytes: number): Buffer {
    return counted(this.#stats, () => this.#inner.readSync(offsetBytes, lengthBytes))
  }

  [Symbol.dispose](): void {
    this.#inner[Symbol.dispose]()
  }
}

class MeasuredReadFile implements ReadFile {
  readonly #inner: ReadFile
  readonly #stats: DiskStats

  constructor(inner: ReadFile, stats: DiskStats) {
    this.#inner = inner
    this.#stats = stats
  }

  get path(): string {
    return this.#inner.path
  }

  get sizeBytes(): number {
    return this.#inner.sizeBytes
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    try {
      const bytes = await this.#inner.read(offsetBytes, lengthBytes)
      this.#stats.bytesRead += bytes.length
      return bytes
    } catch (error) {
      this.#stats.readsFailed++
      throw error
    }
  }

  readSync(offsetBytes: number, lengthBytes: number): Buffer {
    return counted(this.#stats, () => this.#inner.readSync(offsetBytes, lengthBytes))
  }

  [Symbol.dispose](): void {
    this.#inner[Symbol.dispose]()
  }
}

function counted(stats: DiskStats, read: () => Buffer): Buffer {
  try {
    const bytes = read()
    stats.bytesRead += bytes.length
    return bytes
  } catch (error) {
    stats.readsFailed++
    throw error
  }
}
