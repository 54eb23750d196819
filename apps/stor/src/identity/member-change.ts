import { StorError } from '../errors.ts'
import type { MemberBackend } from '../metadata/member-backend.ts'
import type { MetaStore } from '../metadata/meta-store.ts'

/** The places of the next member set; null when the config names the members of this one. A backend that replaces
 *  another takes its place, one that is added a free place or a new one at the end: nobody's shards change their index.
 *  @param places of the superblock: names, '' for a free place
 *  @throws StorError 'refused' for more than one change */
export function nextPlaces(places: readonly string[], configured: readonly string[]): string[] | null {
  const gone = places.filter(name => name !== '' && !configured.includes(name))
  const added = configured.filter(name => !places.includes(name))
  if (gone.length === 0 && added.length === 0) return null
  if (gone.length > 1 || added.length > 1) {
    const changes = [
      gone.length > 0 ? `${gone.join(', ')} left meta.config.backends` : '',
      added.length > 0 ? `${added.join(', ')} came` : '',
    ]
    throw new StorError(
      'refused',
      `${changes.filter(text => text !== '').join(' and ')}: metadata backends are replaced, added or removed one at a ` +
        'time. Undo all but one of these changes, start stor, and make the next one when `stor status` says that no ' +
        'metadata backend is being filled',
    )
  }
  const [leaving, joining] = [gone[0], added[0]]
  if (leaving !== undefined) return trimmed(places.map(name => (name === leaving ? (joining ?? '') : name)))
  const free = places.indexOf('')
  return free === -1 ? [...places, joining!] : places.map((name, place) => (place === free ? joining! : name))
}

/** The quorums of the old set and of the new one meet in the others only if these hold all records.
 *  @param others members of both sets
 *  @throws StorError 'refused' */
export function assertOthersAreFilled(others: readonly MemberBackend[]): void {
  const filling = others.filter(({ blank }) => blank).map(({ name }) => name)
  if (filling.length === 0) return
  throw new StorError(
    'refused',
    `${filling.join(', ')} does not hold all records yet, so no other metadata backend can be exchanged: undo this ` +
      'change of the config, start stor, and wait until `stor status` says that it is filled',
  )
}

/** What a backend holds already could be taken for records that the store has since deleted.
 *  @throws StorError 'refused', 'unavailable' */
export async function assertEmpty(joining: MemberBackend): Promise<void> {
  if (await joining.isEmpty()) return
  const text = `${joining.name} is to become a metadata backend and is not empty: give it an empty namespace, or clear it`
  throw new StorError('refused', text)
}

/** Brings every record to every member that remains, before another leaves: it may be what made up the quorum.
 *  @param remaining asks nobody else, and decides nothing unless all of them answer
 *  @throws StorError 'unavailable' when one of them does not answer */
export async function spreadOver(remaining: MetaStore, members: readonly MemberBackend[]): Promise<number> {
  const found = new Set<string>()
  for (const member of members) {
    for await (const keys of member.list()) {
      for (const key of keys) if (key.length > 2) found.add(key.subarray(0, -1).toString('latin1'))
    }
  }
  for (const key of found) {
    const committed = await remaining.widen(Buffer.from(key, 'latin1'))
    if (committed !== null && committed.owed.length > 0) {
      throw new StorError(
        'unavailable',
        `${committed.owed.join(', ')} went away while another member was being removed`,
      )
    }
  }
  return found.size
}

function trimmed(places: readonly string[]): string[] {
  return places.slice(0, places.findLastIndex(name => name !== '') + 1)
}
