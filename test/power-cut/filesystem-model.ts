import type { Prng } from '@qsfs/testkit/prng'
import { Driver } from '../../apps/fs/test/driver.ts'
import type { Misfortune } from './misfortune.ts'

/** Every write is one unit of tokens that say whose they are; a unit lies inside one window of 128 KiB. */
const unitBytes = 3000
const tokenBytes = 8
const unitsPerFile = 12
const paths = ['/a', '/b', '/c', '/d/a', '/d/b']
const zeros = '\0'.repeat(tokenBytes)

/** What a unit of a file ever held, oldest first; what an fsync acknowledged is not older than `floor`. */
interface Unit {
  readonly tokens: string[]
  floor: number
}
interface ModelFile {
  readonly nodeId: number
  readonly units: Unit[]
}
type Names = ReadonlyMap<string, ModelFile>

/** Random operations on a whole filesystem, and what may be found after a crash: the names as they were after some operation
 *  that is not older than the last acknowledged fsync; in each file only bytes it was given at that place, none older than
 *  its own last fsync, and zeros where nothing was. */
export class FilesystemModel {
  readonly #misfortune: Misfortune
  readonly #prng: Prng
  #driver!: Driver
  #names: Names = new Map()
  /** After each operation since the mount. */
  #history: Names[] = [new Map()]
  #acknowledged = 0
  #hasDirectory = false
  #writeCount = 0

  constructor(misfortune: Misfortune, prng: Prng) {
    this.#misfortune = misfortune
    this.#prng = prng
  }

  /** @returns null, or what was found to be broken */
  async run(steps: number): Promise<string | null> {
    let finding = await this.#mountAfterCrash()
    for (let i = 0; i < steps && finding === null; i++) {
      try {
        if (this.#prng.chance(0.97)) {
          await this.#step()
          continue
        }
      } catch (error) {
        if (!this.#misfortune.isCrash(error)) throw error
      }
      await this.#misfortune.crash()
      finding = await this.#mountAfterCrash()
    }
    return finding
  }

  async #mountAfterCrash(): Promise<string | null> {
    for (;;) {
      try {
        const store = await this.#misfortune.open()
        this.#driver = await Driver.mount(store, {}, this.#misfortune.clock)
        return await this.#compare()
      } catch (error) {
        if (!this.#misfortune.isCrash(error)) throw error
        await this.#misfortune.crash()
      }
    }
  }

  async #step(): Promise<void> {
    if (!this.#hasDirectory) {
      await this.#driver.mkdir('/d')
      await this.#driver.filesystem.syncfs?.(context)
      this.#hasDirectory = true
    }
    const choice = this.#prng.below(20)
    const path = this.#prng.pick(paths)
    const file = this.#names.get(path)
    if (file === undefined) return this.#create(path)
    if (choice < 9) return this.#write(path, file)
    if (choice < 11) return this.#truncate(path, file)
    if (choice < 13) return this.#rename(path, this.#prng.pick(paths))
    if (choice < 14) return this.#change(names => names.delete(path), this.#driver.unlink.bind(this.#driver, path))
    if (choice < 15) return this.#link(path, file, this.#prng.pick(paths))
    if (choice < 18) return this.#fsync(path, file)
    return this.#pause()
  }

  /** The names change with the operation: after a crash in the middle of it both are right. */
  async #change(change: (names: Map<string, ModelFile>) => void, operation: () => Promise<unknown>): Promise<void> {
    const names = new Map(this.#names)
    change(names)
    this.#names = names
    this.#history.push(names)
    await operation()
  }

  async #create(path: string): Promise<void> {
    await this.#driver.create(path)
    const { nodeId } = await this.#driver.stat(path)
    await this.#change(
      names => names.set(path, { nodeId, units: Array.from({ length: unitsPerFile }, () => unitOf(zeros)) }),
      async () => undefined,
    )
  }

  async #write(path: string, { units }: ModelFile): Promise<void> {
    const at = this.#prng.below(unitsPerFile)
    const token = `w${++this.#writeCount}`.padEnd(tokenBytes, '.')
    units[at]!.tokens.push(token)
    await this.#driver.write(path, at * unitBytes, Buffer.from(token.repeat(unitBytes / tokenBytes)))
  }

  async #truncate(path: string, { units }: ModelFile): Promise<void> {
    const count = this.#prng.below(unitsPerFile + 1)
    for (const unit of units.slice(count)) unit.tokens.push(zeros)
    await this.#driver.truncate(path, count * unitBytes)
  }

  async #rename(from: string, to: string): Promise<void> {
    if (from === to || this.#names.get(from) === this.#names.get(to)) return
    await this.#change(
      names => {
        names.set(to, names.get(from)!)
        names.delete(from)
      },
      () => this.#driver.rename(from, to),
    )
  }

  async #link(from: string, file: ModelFile, to: string): Promise<void> {
    if (this.#names.has(to)) return
    await this.#change(
      names => names.set(to, file),
      () => this.#driver.link(from, to),
    )
  }

  async #fsync(path: string, { units }: ModelFile): Promise<void> {
    const covered = this.#history.length - 1
    const floors = units.map(({ tokens }) => tokens.length - 1)
    await this.#driver.fsync(path)
    this.#acknowledged = covered
    for (const [at, unit] of units.entries()) unit.floor = floors[at]!
  }

  /** Flushes and commits that are due have their turn. */
  async #pause(): Promise<void> {
    for (let turns = this.#prng.below(30); turns > 0; turns--) await new Promise(resolve => setImmediate(resolve))
  }

  async #compare(): Promise<string | null> {
    const found = await this.#readNames()
    const wanted = JSON.stringify([...found].sort())
    const matching = this.#history.slice(this.#acknowledged).filter(names => wanted === nodeIdsOf(names))
    if (matching.length === 0) {
      const isOlder = this.#history.some(names => wanted === nodeIdsOf(names))
      return isOlder ? 'an acknowledged fsync is lost' : `names that never were: ${wanted}`
    }
    const names = matching.at(-1)!
    const files = new Map<number, ModelFile>()
    for (const [path, file] of names) {
      if (files.has(file.nodeId)) continue
      const units = await this.#readUnits(path, file)
      if (typeof units === 'string') return units
      files.set(file.nodeId, { nodeId: file.nodeId, units })
    }
    this.#names = new Map([...names].map(([path, { nodeId }]) => [path, files.get(nodeId)!]))
    this.#history = [this.#names]
    this.#acknowledged = 0
    return null
  }

  async #readNames(): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    const root = (await this.#driver.list('/')).map(({ name }) => name)
    this.#hasDirectory = root.includes('d')
    for (const directory of this.#hasDirectory ? ['', '/d'] : ['']) {
      for (const { name, nodeId } of await this.#driver.list(directory === '' ? '/' : directory)) {
        if (name !== '.' && name !== '..' && name !== 'd') found.set(`${directory}/${name}`, nodeId)
      }
    }
    return found
  }

  async #readUnits(path: string, file: ModelFile): Promise<Unit[] | string> {
    const bytes = Buffer.alloc(unitsPerFile * unitBytes)
    const stored = await this.#driver.read(path, 0, bytes.length)
    stored.copy(bytes)
    const units: Unit[] = []
    for (const [at, { tokens, floor }] of file.units.entries()) {
      const unit = bytes.toString('latin1', at * unitBytes, (at + 1) * unitBytes)
      const token = unit.slice(0, tokenBytes)
      if (unit !== token.repeat(unitBytes / tokenBytes)) return `${path} unit ${at} is torn: ${JSON.stringify(token)}`
      if (tokens.includes(token, floor)) units.push(unitOf(token))
      else return `${path} unit ${at} holds ${JSON.stringify(token)}, not one of ${JSON.stringify(tokens.slice(floor))}`
    }
    return units
  }
}

const context = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal }

function unitOf(token: string): Unit {
  return { tokens: [token], floor: 0 }
}

function nodeIdsOf(names: Names): string {
  return JSON.stringify([...names].map(([path, { nodeId }]) => [path, nodeId]).sort())
}
