/** Records are looked at so many at a time: one after the other, each waiting for disks that stores keep busy, a walk over
 *  all of them would hardly advance; all at once they would crowd the stores out. */
const LANES = 8

/** Does something for each key. After a failure no further one is begun.
 *  @throws what `work` threw first, once all that was begun has ended */
export async function eachRecord(keys: Iterable<Buffer>, work: (key: Buffer) => Promise<void>): Promise<void> {
  const left = keys[Symbol.iterator]()
  const failures: unknown[] = []
  const lane = async () => {
    for (let next = left.next(); failures.length === 0 && !next.done; next = left.next()) {
      try {
        await work(next.value)
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  if (failures.length > 0) throw failures[0]
}
