import type { Clock } from '@qsfs/concurrency/clock'
import { SingleFlight } from '@qsfs/concurrency/single-flight'
import type { SegmentState } from '@qsfs/protocol/cachedb-commands'
import { ConnectionLost, type Reply } from '@qsfs/resp/client'
import { blockKey } from '../store/block-key.ts'
import type { Connect, Connection } from '../store/cachedb-session.ts'
import { hasText } from '../store/resp-errors.ts'
import type { BlockId } from '../store/store.ts'

/** What became of the segment a block lies in. */
export interface SegmentPlace {
  readonly id: number
  readonly state: SegmentState
  /** The object on the backends; null: it is on this machine only. */
  readonly objectId: string | null
  /** Its file is on this machine. */
  readonly isLocal: boolean
}

/** A list of segments serves for this long. */
const freshMs = 500
const keysInFlight = 512
/** docs/formats/resp.md, cursors: the segment lies behind the key's length. */
const segmentAtInCursor = 1

/** Asks the server in which segments blocks lie, on a connection of its own. */
export class SegmentStates implements AsyncDisposable {
  readonly #connect: Connect
  readonly #namespace: string
  readonly #clock: Clock
  readonly #listing = new SingleFlight<string, ReadonlyMap<number, SegmentPlace>>()
  #connection: Connection | null = null
  #segments: ReadonlyMap<number, SegmentPlace> = new Map()
  #listedMs = Number.NEGATIVE_INFINITY

  constructor(connect: Connect, namespace: string, clock: Clock) {
    this.#connect = connect
    this.#namespace = namespace
    this.#clock = clock
  }

  /** Where each block lies, in the order asked for; null: it was deleted meanwhile.
   *  @throws ConnectionLost, RespError */
  async of(ids: readonly BlockId[]): Promise<(SegmentPlace | null)[]> {
    const places: (SegmentPlace | null)[] = []
    for (let at = 0; at < ids.length; at += keysInFlight) {
      const numbers = await Promise.all(ids.slice(at, at + keysInFlight).map(id => this.#segmentOf(id)))
      const isKnown = numbers.every(number => number === null || this.#segments.has(number))
      const segments = await this.#list({ mayBeOld: isKnown })
      // A segment that went meanwhile had nothing in it any more.
      places.push(...numbers.map(number => (number === null ? null : (segments.get(number) ?? null))))
    }
    return places
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection?.[Symbol.asyncDispose]()
  }

  async #segmentOf(id: BlockId): Promise<number | null> {
    try {
      const cursor = await this.#call('KEYCUR', blockKey(id))
      return Buffer.isBuffer(cursor) ? cursor.readUInt32LE(segmentAtInCursor) : null
    } catch (error) {
      if (hasText(error, 'Key not found')) return null
      throw error
    }
  }

  #list({ mayBeOld }: { readonly mayBeOld: boolean }): Promise<ReadonlyMap<number, SegmentPlace>> {
    if (mayBeOld && this.#clock.monotonicMs() - this.#listedMs < freshMs) return Promise.resolve(this.#segments)
    return this.#listing.run('segments', async () => {
      this.#segments = new Map(parseSegments(await this.#call('SEGMENTS')).map(segment => [segment.id, segment]))
      this.#listedMs = this.#clock.monotonicMs()
      return this.#segments
    })
  }

  async #call(...args: readonly (string | Buffer)[]): Promise<Reply> {
    this.#connection ??= await this.#connect({ namespace: this.#namespace })
    const connection = this.#connection
    try {
      return await connection.call(...args)
    } catch (error) {
      // The next one to ask connects anew.
      if (error instanceof ConnectionLost && this.#connection === connection) this.#connection = null
      throw error
    }
  }
}

/** Rows of [id, state, dataBytes, liveBytes, objectId or nil, local, note]. */
function parseSegments(reply: Reply): SegmentPlace[] {
  if (!Array.isArray(reply)) throw new TypeError('SEGMENTS answers an array')
  return reply.map(row => {
    if (!Array.isArray(row) || row.length !== 7) throw new TypeError('a segment has seven fields')
    const [id, state, , , objectId, local] = row
    return {
      id: Number(id),
      state: String(state) as SegmentState,
      objectId: objectId === null ? null : String(objectId),
      isLocal: Number(local) === 1,
    }
  })
}
