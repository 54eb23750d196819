/** Does something for each item, `laneCount` of them at a time. After a failure no further one is begun.
 *  @throws what `work` threw first, once all that was begun has ended */
export async function inLanes<T>(
  laneCount: number,
  items: Iterable<T>,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = items[Symbol.iterator]()
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
  await Promise.all(Array.from({ length: laneCount }, lane))
  if (failures.length > 0) throw failures[0]
}
