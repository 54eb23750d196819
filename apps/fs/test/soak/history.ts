import assert from 'node:assert'
import { describe, Model, type ModelDirectory, type Operation } from './model.ts'

/** What a filesystem holds, as far as it is compared. */
export type Found =
  | { readonly kind: 'file'; readonly links: number; readonly bytes: Buffer }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory' }

/** What may have become of a file's bytes since they were last synced. */
interface FileHistory {
  synced: Buffer
  changes: Extract<Operation, { name: 'write' | 'truncate' }>[]
}

/** A model that knows what a crash may have left: a prefix of the operations on names that holds all that was synced, and of a file's
 *  bytes those synced or any written since. */
export class History {
  /** As all operations so far left it. */
  #now = new Model()
  /** As it was when everything was last synced, and the operations since. */
  #synced = new Model()
  #since: Operation[] = []
  #files = new Map<number, FileHistory>()

  get now(): Model {
    return this.#now
  }
  /** Operations a crash may lose. */
  get unsyncedCount(): number {
    return this.#since.length
  }

  /** @throws the errno the operation has to fail with; then it changed nothing */
  apply(operation: Operation): void {
    this.#now.apply(operation)
    if (operation.name === 'read') return
    if (operation.name === 'write' || operation.name === 'truncate') {
      this.#historyOf(this.#now.file(operation.path).id).changes.push(operation)
    }
    this.#since.push(operation)
  }

  /** The last operation was an fsync, and it was answered: names and bytes so far are safe, of other files names only. */
  syncedFile(path: string): void {
    this.#settleNames(this.#now.clone())
    const node = this.#now.get(path)
    if (node.kind === 'file') this.#files.set(node.id, { synced: node.bytes, changes: [] })
  }

  syncedAll(): void {
    this.#settleNames(this.#now.clone())
    const visit = ({ names }: ModelDirectory): void => {
      for (const node of names.values()) {
        if (node.kind === 'directory') visit(node)
        else if (node.kind === 'file') this.#files.set(node.id, { synced: node.bytes, changes: [] })
      }
    }
    visit(this.#now.root)
  }

  /** Compares what was found after a crash, and goes on from there.
   *  @throws AssertionError when no crash explains it */
  crashed(found: ReadonlyMap<string, Found>): void {
    const model = this.#synced.clone()
    const told = [`synced: ${this.#differenceOf(model, found)}`]
    let matched = this.#differenceOf(model, found) === null ? model.clone() : null
    for (const operation of this.#since) {
      model.apply(operation)
      const difference = this.#differenceOf(model, found)
      told.push(`${describe(operation)}: ${difference}`)
      if (difference === null) matched = model.clone()
    }
    if (matched === null) assert.fail(`no prefix of what was done explains it\n${told.join('\n')}`)
    for (const [path, node] of found) if (node.kind === 'file') matched.file(path).bytes = node.bytes
    this.#now = matched
    this.#files = new Map()
    this.syncedAll()
  }

  /** Compares a filesystem that did not crash: everything is there. */
  intact(found: ReadonlyMap<string, Found>): void {
    assert.strictEqual(differenceOfNames(this.#now, found), null)
    for (const [path, node] of found) {
      if (node.kind === 'file') assert(node.bytes.equals(this.#now.file(path).bytes), `the bytes of ${path} differ`)
    }
  }

  #settleNames(model: Model): void {
    this.#synced = model
    this.#since = []
  }

  #historyOf(id: number): FileHistory {
    const known = this.#files.get(id) ?? { synced: Buffer.alloc(0), changes: [] }
    this.#files.set(id, known)
    return known
  }

  #differenceOf(model: Model, found: ReadonlyMap<string, Found>): string | null {
    const difference = differenceOfNames(model, found)
    if (difference !== null) return difference
    for (const [path, node] of found) {
      if (node.kind !== 'file') continue
      const wrong = whatIsForeign(path, this.#historyOf(model.file(path).id), node.bytes)
      if (wrong !== null) return wrong
    }
    return null
  }
}

/** Each byte is one that was there when it was synced, or was written there since, or is missing where there was none.
 *  null: all of it is */
function whatIsForeign(path: string, { synced, changes }: FileHistory, found: Buffer): string | null {
  let shortest = synced.length
  let longest = synced.length
  let sizeBytes = synced.length
  const isExplained = new Uint8Array(found.length)
  const explain = (bytes: Buffer, offset: number) => {
    const end = Math.min(found.length, offset + bytes.length)
    for (let at = offset; at < end; at++) if (found[at] === bytes[at - offset]) isExplained[at] = 1
  }
  explain(synced, 0)
  for (const change of changes) {
    sizeBytes = change.name === 'truncate' ? change.sizeBytes : Math.max(sizeBytes, change.offset + change.data.length)
    shortest = Math.min(shortest, sizeBytes)
    longest = Math.max(longest, sizeBytes)
    if (change.name === 'write') explain(change.data, change.offset)
  }
  if (found.length < shortest || found.length > longest) {
    return `${path} has ${found.length} bytes, and had ${shortest} to ${longest}`
  }
  for (let at = 0; at < found.length; at++) {
    const isMissing = at >= shortest && found[at] === 0
    if (isExplained[at] !== 1 && !isMissing) return `byte ${at} of ${path} is foreign: ${found[at]}`
  }
  return null
}

/** In a sentence how names, types, targets and link counts differ; null: not at all. */
function differenceOfNames(model: Model, found: ReadonlyMap<string, Found>): string | null {
  let count = 0
  const visit = ({ names }: ModelDirectory, prefix: string): string | null => {
    for (const [name, node] of names) {
      const path = `${prefix}${name}`
      const other = found.get(path)
      count++
      if (other === undefined) return `${path} is missing`
      if (other.kind !== node.kind) return `${path} is a ${other.kind}`
      if (node.kind === 'symlink' && other.kind === 'symlink' && other.target !== node.target)
        return `${path} leads to ${other.target}`
      if (node.kind === 'file' && other.kind === 'file' && other.links !== node.links) {
        return `${path} has ${other.links} links, not ${node.links}`
      }
      const below = node.kind === 'directory' ? visit(node, `${path}/`) : null
      if (below !== null) return below
    }
    return null
  }
  const difference = visit(model.root, '')
  if (difference !== null || count === found.size) return difference
  const all = new Set<string>()
  const list = ({ names }: ModelDirectory, prefix: string): void => {
    for (const [name, node] of names) {
      all.add(`${prefix}${name}`)
      if (node.kind === 'directory') list(node, `${prefix}${name}/`)
    }
  }
  list(model.root, '')
  return `${[...found.keys()].find(path => !all.has(path))} is there`
}
