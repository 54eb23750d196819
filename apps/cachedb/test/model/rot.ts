import type { Prng } from '@qsfs/testkit/prng'
import { ManifestState } from '../../src/engine/manifest/manifest-state.ts'
import { decodeManifest } from '../../src/segment/manifest-format.ts'
import type { SimulatedStorage } from '../simulated-storage.ts'

/** Damages, or takes away, what can be had again: hints, whose data is there or in the store, and the local files of stored segments.
 *  @param storage after a power cut: what it shows is on disk, so what is stored by its manifest stays stored */
export function rot(storage: SimulatedStorage, prng: Prng, tell: (text: string) => void): void {
  for (const { name } of storage.list('/data')) {
    const manifest = `/data/${name}/manifest`
    if (name.startsWith('.') || storage.sizeBytes(manifest) === null) continue
    for (const { segmentId, state } of segmentsOf(storage.bytesOf(manifest))) {
      if (state !== 'open' && prng.chance(0.1)) damage(storage, `/data/${name}/h${segmentId}`, prng, tell)
      if (state === 'stored' && prng.chance(0.1)) damage(storage, `/data/${name}/d${segmentId}`, prng, tell)
    }
  }
}

function segmentsOf(manifest: Buffer) {
  const { incarnation, records } = decodeManifest(manifest)
  const state = new ManifestState(incarnation)
  for (const record of records) state.apply(record)
  return [...state.segments.values()]
}

function damage(storage: SimulatedStorage, path: string, prng: Prng, tell: (text: string) => void): void {
  if (storage.sizeBytes(path) === null) return
  const bytes = storage.bytesOf(path)
  if (prng.chance(0.3) || bytes.length === 0) {
    storage.remove(path)
    tell(`${path} is lost`)
    return
  }
  const at = prng.below(bytes.length)
  bytes[at]! ^= 1 << prng.below(8)
  storage.put(path, bytes)
  tell(`${path} rots at ${at}`)
}
