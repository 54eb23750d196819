import type { Wakefulness } from '@qsfs/concurrency/wakefulness'
import type { Connect, Connection } from './cachedb-session.ts'

/** With this many commands under way the server is busy for longer than polling would bridge, and wants the processor. */
const many = 3

/** Counts the commands the server has not answered, and wakes for each answer: what waits for one or two of them, an fsync or a read
 *  that misses, mostly waits for processes to wake up. */
export class StoreCalls {
  #outstanding = 0

  get areMany(): boolean {
    return this.#outstanding >= many
  }

  /** Connections whose calls are counted. */
  watched(connect: Connect, wakefulness: Wakefulness): Connect {
    return async options => {
      const connection = await connect(options)
      const call: Connection['call'] = (...args) => {
        this.#outstanding++
        wakefulness.stay()
        return connection.call(...args).finally(() => {
          this.#outstanding--
          wakefulness.came()
          wakefulness.stay()
        })
      }
      return {
        call,
        closed: connection.closed,
        get positions() {
          return connection.positions
        },
        [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
      }
    }
  }
}
