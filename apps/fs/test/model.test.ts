import assert from 'node:assert'
import { test } from 'node:test'
import { type Prng, seededPrng } from '@qsfs/testkit/prng'
import { MemoryStore } from '../src/store/memory-store.ts'
import { Driver } from './driver.ts'

/** A plain filesystem in memory: what every operation is compared with. */
type ModelNode = { kind: 'file'; bytes: Buffer; links: number } | { kind: 'symlink'; target: string } | ModelDirectory
interface ModelDirectory {
  kind: 'directory'
  names: Map<string, ModelNode>
}

class Model {
  readonly root: ModelDirectory = { kind: 'directory', names: new Map() }

  parentOf(path: string): { directory: ModelDirectory; name: string } {
    const parts = path.split('/')
    const name = parts.pop()!
    let directory = this.root as ModelNode
    for (const part of parts) {
      if (directory.kind !== 'directory') throw code('ENOTDIR')
      const next: ModelNode | undefined = directory.names.get(part)
      if (next === undefined) throw code('ENOENT')
      directory = next
    }
    if (directory.kind !== 'directory') throw code('ENOTDIR')
    return { directory, name }
  }
  get(path: string): ModelNode {
    const { directory, name } = this.parentOf(path)
    const node = directory.names.get(name)
    if (node === undefined) throw code('ENOENT')
    return node
  }
  file(path: string) {
    const node = this.get(path)
    if (node.kind !== 'file') throw code(node.kind === 'directory' ? 'EISDIR' : 'EINVAL')
    return node
  }
  make(path: string, node: ModelNode): void {
    const { directory, name } = this.parentOf(path)
    if (directory.names.has(name)) throw code('EEXIST')
    directory.names.set(name, node)
  }
  link(from: string, to: string): void {
    const node = this.get(from)
    const { directory, name } = this.parentOf(to)
    if (node.kind === 'directory') throw code('EPERM')
    if (directory.names.has(name)) throw code('EEXIST')
    if (node.kind === 'file') node.links++
    directory.names.set(name, node)
  }
  unlink(path: string): void {
    const node = this.get(path)
    if (node.kind === 'directory') throw code('EISDIR')
    const { directory, name } = this.parentOf(path)
    if (node.kind === 'file') node.links--
    directory.names.delete(name)
  }
  rmdir(path: string): void {
    const node = this.get(path)
    if (node.kind !== 'directory') throw code('ENOTDIR')
    if (node.names.size > 0) throw code('ENOTEMPTY')
    const { directory, name } = this.parentOf(path)
    directory.names.delete(name)
  }
  rename(from: string, to: string, flags: number): void {
    const source = this.parentOf(from)
    const target = this.parentOf(to)
    const node = this.get(from)
    const replaced = target.directory.names.get(target.name)
    if (replaced !== undefined && flags === 1) throw code('EEXIST')
    if (replaced === undefined && flags === 2) throw code('ENOENT')
    if (replaced === node) return
    if (flags === 2) {
      source.directory.names.set(source.name, replaced!)
      target.directory.names.set(target.name, node)
      return
    }
    if (replaced !== undefined) {
      if (node.kind === 'directory' && replaced.kind !== 'directory') throw code('ENOTDIR')
      if (node.kind !== 'directory' && replaced.kind === 'directory') throw code('EISDIR')
      if (replaced.kind === 'directory' && replaced.names.size > 0) throw code('ENOTEMPTY')
      if (replaced.kind === 'file') replaced.links--
    }
    target.directory.names.set(target.name, node)
    source.directory.names.delete(source.name)
  }
}

function code(name: string): Error {
  return Object.assign(new Error(name), { code: name })
}

const fileBytesMax = 600 * 1024

test('random operations agree with a plain model, over remounts', async t => {
  const prng = seededPrng(t)
  for (let history = 0; history < 6; history++) {
    const store = new MemoryStore()
    const model = new Model()
    // Small caches: records and blocks leave memory and come back.
    const limits = { dirtyBytesMax: 1024 * 1024, blockCacheBytesMax: 256 * 1024, recordsMax: 8 }
    for (let mount = 0; mount < 3; mount++) {
      await using driver = await Driver.mount(store, limits)
      for (let step = 0; step < 250; step++) {
        const action = actionOf(prng)
        if (prng.chance(0.05)) driver.volume.records.trim()
        await sameOutcome(
          action.name,
          () => action.onModel(model),
          () => action.onDriver(driver),
        )
      }
      if (prng.chance(0.5)) await driver.volume.buffer.flushAll()
      await sameTree(driver, model.root, '')
    }
    await using driver = await Driver.mount(store, limits)
    await sameTree(driver, model.root, '')
    await removeAll(driver, model.root, '')
    await driver.volume.sync()
    await until(() => driver.volume.orphans.count === 0)
    await driver.volume.sync()
    await until(() => store.blockCount === 0)
  }
})

async function until(isDone: () => boolean): Promise<void> {
  for (let round = 0; !isDone(); round++) {
    assert(round < 500, 'space does not come back')
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

interface Action {
  readonly name: string
  readonly onModel: (model: Model) => void
  readonly onDriver: (driver: Driver) => Promise<unknown>
}

function actionOf(prng: Prng): Action {
  const names = ['a', 'b', 'c', 'dir', 'dir/a', 'dir/b', 'dir/sub', 'dir/sub/x', 'other', 'other/a']
  const path = prng.pick(names)
  const second = prng.pick(names)
  const offset = prng.chance(0.5) ? prng.below(fileBytesMax) : prng.below(8) * 65536
  const length = 1 + prng.below(prng.chance(0.3) ? 300_000 : 9000)
  const kind = prng.below(100)
  const named = (name: string, onModel: Action['onModel'], onDriver: Action['onDriver']): Action => ({
    name: `${name} ${path} ${second} ${offset} ${length}`,
    onModel,
    onDriver,
  })
  if (kind < 12) {
    return named(
      'create',
      m => m.make(path, { kind: 'file', bytes: Buffer.alloc(0), links: 1 }),
      d => d.create(path),
    )
  }
  if (kind < 20)
    return named(
      'mkdir',
      m => m.make(path, { kind: 'directory', names: new Map() }),
      d => d.mkdir(path),
    )
  if (kind < 23)
    return named(
      'symlink',
      m => m.make(path, { kind: 'symlink', target: second }),
      d => d.symlink(path, second),
    )
  if (kind < 27)
    return named(
      'link',
      m => m.link(path, second),
      d => d.link(path, second),
    )
  if (kind < 34)
    return named(
      'unlink',
      m => m.unlink(path),
      d => d.unlink(path),
    )
  if (kind < 37)
    return named(
      'rmdir',
      m => m.rmdir(path),
      d => d.rmdir(path),
    )
  if (kind < 45) {
    const flags = prng.below(3)
    const inside = second.startsWith(`${path}/`) || (flags === 2 && path.startsWith(`${second}/`))
    // The kernel refuses to move a directory into itself before it asks.
    if (!inside)
      return named(
        `rename ${flags}`,
        m => m.rename(path, second, flags),
        d => d.rename(path, second, flags),
      )
  }
  if (kind < 53) {
    const sizeBytes = prng.chance(0.3) ? 0 : offset
    return named(
      `truncate ${sizeBytes}`,
      m => {
        const file = m.file(path)
        const bytes = Buffer.alloc(sizeBytes)
        file.bytes.copy(bytes)
        file.bytes = bytes
      },
      d => d.truncate(path, sizeBytes),
    )
  }
  if (kind < 58)
    return named(
      'fsync',
      m => void m.get(path),
      d => d.fsync(path),
    )
  if (kind < 70) {
    return named(
      'read',
      m => void m.file(path),
      async d => void (await d.read(path, offset, length)),
    )
  }
  const data = prng.bytes(length)
  return named(
    'write',
    m => {
      const file = m.file(path)
      const bytes = Buffer.alloc(Math.max(file.bytes.length, offset + length))
      file.bytes.copy(bytes)
      data.copy(bytes, offset)
      file.bytes = bytes
    },
    d => d.write(path, offset, data),
  )
}

async function sameOutcome(name: string, onModel: () => void, onDriver: () => Promise<unknown>): Promise<void> {
  let expected = 'done'
  let actual = 'done'
  try {
    onModel()
  } catch (error) {
    expected = (error as { code: string }).code
  }
  try {
    await onDriver()
  } catch (error) {
    actual = (error as { code?: string }).code ?? String(error)
    if (actual === 'ERR_ASSERTION') throw error
  }
  // Which of two missing parents is seen first does not matter.
  const missing = ['ENOENT', 'ENOTDIR']
  assert(
    actual === expected || (missing.includes(actual) && missing.includes(expected)),
    `${name}: ${actual}, not ${expected}`,
  )
}

async function sameTree(driver: Driver, directory: ModelDirectory, path: string): Promise<void> {
  const listed = await driver.list(path, { atOnce: 3, withEntries: true })
  assert.deepStrictEqual(listed.map(({ name }) => name).sort(), [...directory.names.keys()].sort(), path)
  for (const [name, node] of directory.names) {
    const child = path === '' ? name : `${path}/${name}`
    const attr = await driver.stat(child)
    if (node.kind === 'directory') await sameTree(driver, node, child)
    else if (node.kind === 'file') {
      assert.strictEqual(attr.sizeBytes, node.bytes.length, child)
      assert.strictEqual(attr.linkCount, node.links, child)
      const bytes = await driver.read(child, 0, node.bytes.length + 10)
      assert(bytes.equals(node.bytes), `${child} differs`)
    }
  }
}

async function removeAll(driver: Driver, directory: ModelDirectory, path: string): Promise<void> {
  for (const [name, node] of directory.names) {
    const child = path === '' ? name : `${path}/${name}`
    if (node.kind === 'directory') {
      await removeAll(driver, node, child)
      await driver.rmdir(child)
    } else await driver.unlink(child)
  }
}
