import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FormatError } from '../../segment/format.ts'
import { StorageError } from '../../segment/storage.ts'
import type { EngineContext } from '../context.ts'
import { decodePoint, type Point, pointBody, pointBytesMax, pointHeader } from './point-format.ts'

/** Where points lie; a dot makes it no namespace. */
const pointsName = '.points'
const fileName = /^p(\d{1,15})$/

/** The point files of a data directory: the last one published, and the one that is about to be. */
export class PointFiles {
  readonly #directory: string
  readonly #dataDirectory: string
  readonly #context: Pick<EngineContext, 'storage' | 'log'>

  constructor(dataDirectory: string, context: Pick<EngineContext, 'storage' | 'log'>) {
    this.#dataDirectory = dataDirectory
    this.#directory = join(dataDirectory, pointsName)
    this.#context = context
  }

  pathOf(number: number): string {
    return join(this.#directory, `p${number}`)
  }

  /** The highest number that a file has, also a damaged one: it is never given again. 0 without files. */
  get lastNumber(): number {
    return Math.max(0, ...this.#numbers())
  }

  /** The point with this number; null when there is none, or it cannot be read. */
  read(number: number): Point | null {
    const path = this.pathOf(number)
    const { storage, log } = this.#context
    try {
      if (storage.sizeBytes(path) === null) return null
      using file = storage.openRead(path)
      if (file.sizeBytes > pointBytesMax) throw new FormatError(`the point has ${file.sizeBytes} bytes`)
      const point = decodePoint(file.readSync(0, file.sizeBytes))
      if (point.number !== number) throw new FormatError(`the file holds point ${point.number}`)
      return point
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof StorageError)) throw error
      log.error('point.not_read', { path, error })
      return null
    }
  }

  /** Durable when it settles. @throws StorageError, FormatError when it is too large to be read again */
  async write(point: Point): Promise<void> {
    const { storage } = this.#context
    const body: Buffer[] = []
    for (const piece of pointBody(point)) {
      body.push(piece)
      await nextTurn()
    }
    const parts = [pointHeader(point, body), ...body]
    if (parts.reduce((sum, { length }) => sum + length, 0) > pointBytesMax)
      throw new FormatError(`a point of more than ${pointBytesMax} bytes cannot be read again`)
    storage.makeDirectory(this.#directory)
    await storage.syncDirectory(this.#dataDirectory)
    await storage.publish(this.pathOf(point.number), parts)
  }

  /** A newer point was published. */
  removeBefore(number: number): void {
    const { storage, log } = this.#context
    try {
      for (const older of this.#numbers()) if (older < number) storage.remove(this.pathOf(older))
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      // The next one removes them too.
      log.warn('point.not_removed', { before: number, error })
    }
  }

  #numbers(): readonly number[] {
    return this.#context.storage
      .list(this.#directory)
      .flatMap(({ name, isDirectory }) => (isDirectory ? [] : (fileName.exec(name)?.[1] ?? [])))
      .map(Number)
  }
}
