import type { Prng } from '@qsfs/testkit/prng'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { HookFailed, type Hooks, noHooks } from '../src/engine/hooks/hooks.ts'
import { Manifest } from '../src/engine/manifest/manifest.ts'
import { Namespace } from '../src/engine/namespace.ts'
import { decodePoint, type Point, type PointNamespace } from '../src/engine/points/point-format.ts'
import type { ManifestRecord } from '../src/segment/manifest-format.ts'
import { contentsOf, engineContext } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

/** A store whose answers the test decides. */
export class PointStore {
  /** Whether segments can be stored. */
  isUp = true
  /** What `recovery-point` exits with. */
  exitCode = 0
  /** Paths that `recovery-point` was told. */
  readonly told: string[] = []
  readonly deleted: string[] = []
  onTold: (path: string) => Promise<void> = async () => {}
  #objectCount = 0

  readonly hooks: Hooks = {
    ...noHooks,
    configured: true,
    segmentClosed: async () => {
      if (!this.isUp) throw new HookFailed('down')
      return (++this.#objectCount).toString(16).padStart(32, '0')
    },
    segmentDeleted: async ({ dataPath }) => void this.deleted.push(dataPath),
    event: async (name, args) => {
      if (name !== 'recovery-point') return 0
      this.told.push(args[0]!)
      await this.onTold(args[0]!)
      return this.exitCode
    },
  }
}

export function readPoint(storage: SimulatedStorage, path: string): Point {
  return decodePoint(storage.bytesOf(path))
}

/** Opens a namespace from nothing but what its part of a point names: data files, hints, settings.
 *  @returns what lives in it, as `contentsOf` */
export async function restored(
  storage: SimulatedStorage,
  { name, incarnation, settings, segments }: PointNamespace,
): Promise<Map<string, string>> {
  const machine = new SimulatedStorage()
  const directory = `/data/${name}`
  machine.makeDirectory(directory)
  const records: ManifestRecord[] = [{ type: 'settings', ...settings }]
  let previousEndBytes = 0
  for (const { segmentId, dataBytes, salt, objectId } of segments) {
    for (const kind of ['d', 'h'])
      machine.put(`${directory}/${kind}${segmentId}`, storage.bytesOf(`${directory}/${kind}${segmentId}`))
    records.push(
      { type: 'opens', segmentId, salt: salt ?? 0, previousEndBytes, nextId: 0 },
      { type: 'closed', segmentId, dataBytes, salt },
      { type: 'stored', segmentId, objectId },
    )
    previousEndBytes = dataBytes
  }
  using _manifest = await Manifest.create(machine, `${directory}/manifest`, incarnation, records)
  const prng: Prng = prngFromSeed(1)
  await using namespace = await Namespace.open(
    name,
    directory,
    settings,
    { pinned: false },
    engineContext(machine, prng),
  )
  return contentsOf(namespace)
}
