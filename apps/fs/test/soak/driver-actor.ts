import type { Driver } from '../driver.ts'
import type { Actor } from './actor.ts'
import type { Found } from './history.ts'
import type { Operation } from './model.ts'

/** A filesystem without a mount. */
export class DriverActor implements Actor {
  readonly driver: Driver

  constructor(driver: Driver) {
    this.driver = driver
  }

  async perform(operation: Operation): Promise<unknown> {
    const { driver } = this
    switch (operation.name) {
      case 'create':
        return await driver.create(operation.path)
      case 'mkdir':
        return await driver.mkdir(operation.path)
      case 'symlink':
        return await driver.symlink(operation.path, operation.second)
      case 'link':
        return await driver.link(operation.path, operation.second)
      case 'unlink':
        return await driver.unlink(operation.path)
      case 'rmdir':
        return await driver.rmdir(operation.path)
      case 'rename':
        return await driver.rename(operation.path, operation.second, operation.flags)
      case 'truncate':
        return await driver.truncate(operation.path, operation.sizeBytes)
      case 'write':
        return await driver.write(operation.path, operation.offset, operation.data)
      case 'read':
        return await driver.read(operation.path, operation.offset, operation.length)
      case 'fsync':
        return await driver.fsync(operation.path)
      case 'sync':
        return await driver.volume.sync()
      default:
        operation satisfies never
    }
  }

  async look(): Promise<Map<string, Found>> {
    const found = new Map<string, Found>()
    await this.#look('', found)
    return found
  }

  async #look(directory: string, found: Map<string, Found>): Promise<void> {
    const { driver } = this
    for (const { name } of await driver.list(directory, { atOnce: 3, withEntries: true })) {
      if (name === '.' || name === '..') continue
      const path = directory === '' ? name : `${directory}/${name}`
      const { mode, sizeBytes, linkCount } = await driver.stat(path)
      const type = mode & 0o170000
      if (type === 0o040000) {
        found.set(path, { kind: 'directory' })
        await this.#look(path, found)
      } else if (type === 0o120000) {
        const target = await driver.at(
          path,
          async nodeId => await driver.filesystem.readlink(nodeId, undefined as never),
        )
        found.set(path, { kind: 'symlink', target: target.toString() })
      } else {
        found.set(path, { kind: 'file', links: linkCount, bytes: await driver.read(path, 0, sizeBytes + 10) })
      }
    }
  }
}
