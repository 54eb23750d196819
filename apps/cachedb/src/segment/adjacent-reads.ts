import { partsMax } from './storage.ts'

/** Read by one call. A caller that asks for more in one turn has several threads at work for it. */
const joinedBytesMax = 1024 * 1024

/** How a file is read from a position: the bytes that were there, less than asked for only at its end or after a hiccup. */
export interface VectorFile {
  readInto(buffers: readonly Buffer[], offsetBytes: number): Promise<number>
}

interface WantedRead {
  readonly buffer: Buffer
  readonly offsetBytes: number
  readonly filledBytes: PromiseWithResolvers<number>
}

/** Reads of one file that are asked for in one turn of the event loop. Those that lie next to each other are one call: handing 128 KiB to a
 *  thread and back takes five futexes and a wake-up, more than reading them from the page cache, and what comes from a disk comes in
 *  larger pieces. */
export class AdjacentReads {
  readonly #file: VectorFile
  #wanted: WantedRead[] = []

  constructor(file: VectorFile) {
    this.#file = file
  }

  /** Fills the buffer from there. @returns how much, less only at the end of the file */
  fill(buffer: Buffer, offsetBytes: number): Promise<number> {
    if (this.#wanted.length === 0) queueMicrotask(() => this.#begin())
    const filledBytes = Promise.withResolvers<number>()
    this.#wanted.push({ buffer, offsetBytes, filledBytes })
    return filledBytes.promise
  }

  #begin(): void {
    const wanted = this.#wanted
    this.#wanted = []
    let joined: WantedRead[] = []
    let joinedBytes = 0
    for (const read of wanted) {
      const first = joined[0]
      const isNext = first !== undefined && read.offsetBytes === first.offsetBytes + joinedBytes
      const fits = joinedBytes + read.buffer.length <= joinedBytesMax && joined.length < partsMax
      if (first !== undefined && !(isNext && fits)) {
        void this.#readJoined(joined, joinedBytes)
        joined = []
        joinedBytes = 0
      }
      joined.push(read)
      joinedBytes += read.buffer.length
    }
    void this.#readJoined(joined, joinedBytes)
  }

  async #readJoined(reads: readonly WantedRead[], sizeBytes: number): Promise<void> {
    if (reads.length === 1) return this.#settle(reads[0]!)
    const buffers = reads.map(({ buffer }) => buffer)
    // Each that did not come whole is asked for alone, and hears alone why it cannot be had.
    const count = await this.#file.readInto(buffers, reads[0]!.offsetBytes).catch(() => 0)
    if (count === sizeBytes) for (const { buffer, filledBytes } of reads) filledBytes.resolve(buffer.length)
    else for (const read of reads) this.#settle(read)
  }

  #settle({ buffer, offsetBytes, filledBytes }: WantedRead): void {
    this.#fill(buffer, offsetBytes).then(filledBytes.resolve, filledBytes.reject)
  }

  async #fill(buffer: Buffer, offsetBytes: number): Promise<number> {
    let filled = 0
    while (filled < buffer.length) {
      const count = await this.#file.readInto([buffer.subarray(filled)], offsetBytes + filled)
      if (count === 0) break
      filled += count
    }
    return filled
  }
}
