import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Made in one go; two are needed for each hook. */
const stockMax = 16

/** A pipe for the output of a hook; disposing closes our end of what it writes to. */
export interface OutputPipe extends Disposable {
  readonly reader: Socket
  readonly writeFd: number
}

/** Pipes of the kernel's. Those that Node makes for its children are sockets, which a script cannot open by name: `> /dev/stderr` fails.
 *  Node has no pipe(2), but FIFOs have names only until they are open. */
export class PipeStock {
  readonly #ends: { readonly readFd: number; readonly writeFd: number }[] = []

  /** null when there are none to be had; then a socket must do. */
  take(): OutputPipe | null {
    if (this.#ends.length === 0) this.#refill()
    const ends = this.#ends.pop()
    if (ends === undefined) return null
    const { readFd, writeFd } = ends
    return {
      reader: new Socket({ fd: readFd, readable: true, writable: false }),
      writeFd,
      [Symbol.dispose]: () => closeSync(writeFd),
    }
  }

  #refill(): void {
    let directory: string | null = null
    try {
      directory = mkdtempSync(join(tmpdir(), 'cachedb-hooks-'))
      const paths = Array.from({ length: stockMax }, (_, index) => join(directory!, String(index)))
      if (spawnSync('mkfifo', paths, { stdio: 'ignore' }).status !== 0) return
      for (const path of paths) {
        // In this order neither waits for the other.
        const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
        this.#ends.push({ readFd, writeFd: openSync(path, constants.O_WRONLY) })
      }
    } catch {
      // No temporary files or no descriptors here: there are as many pipes as were made.
    } finally {
      if (directory !== null) rmSync(directory, { recursive: true, force: true })
    }
  }
}
