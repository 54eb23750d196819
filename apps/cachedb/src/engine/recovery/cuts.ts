import { join } from 'node:path'

const prefix = 'cut-'

/** What a start takes off a namespace's files, because it does not count: kept beside them as `cut-<file>-<offset>`, for ever, until
 *  somebody has looked and removes it. */
export class Cuts {
  #count = 0
  #bytes = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** One that lies there, from now or from earlier. */
  add(bytes: number): void {
    this.#count++
    this.#bytes += bytes
  }
}

export function isCut(name: string): boolean {
  return name.startsWith(prefix)
}

/** Where the bytes of a file from this offset on are kept. */
export function cutPath(directory: string, file: string, offsetBytes: number): string {
  return join(directory, `${prefix}${file}-${offsetBytes}`)
}
