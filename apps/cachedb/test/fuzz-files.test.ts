import assert from 'node:assert/strict'
import { test } from 'node:test'
import { zdbCrc } from '@qsfs/bytes/checksum'
import { type Prng, prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import { decodePoint, type Point, pointBody, pointHeader } from '../src/engine/points/point-format.ts'
import { SegmentUnavailable } from '../src/errors.ts'
import { decodeFileHeader, encodeEntryHead, encodeFileHeader, FormatError } from '../src/segment/format.ts'
import { decodeHint, encodeHint, HintEntries, hintRecords } from '../src/segment/hint-format.ts'
import {
  decodeManifest,
  encodeManifestHeader,
  encodeRecord,
  type ManifestRecord,
} from '../src/segment/manifest-format.ts'
import { verifiedValue } from '../src/segment/reader.ts'
import { scanEntries } from '../src/segment/recover.ts'
import { digest, engineContext, openNamespace } from './engine-fixture.ts'
import { SimulatedStorage } from './simulated-storage.ts'

// What the readers of our files make of bytes that we did not write. Together over 50,000 cases; those of the protocol's parser and
// of 0-db's files are beside them.

const cases = { segment: 20_000, unmarked: 5_000, hint: 15_000, manifest: 15_000, point: 10_000, namespace: 300 }

/** One of the ways in which bytes go bad. */
function garble(bytes: Buffer, prng: Prng): Buffer {
  if (bytes.length < 8) return prng.bytes(40)
  const garbled = Buffer.from(bytes)
  const at = prng.below(garbled.length)
  switch (prng.below(7)) {
    case 0:
      return prng.bytes(prng.below(400))
    case 1:
      return garbled.subarray(0, at)
    case 2:
      garbled[at]! ^= 1 << prng.below(8)
      return garbled
    case 3:
      // An absurd length, if one lies here.
      garbled.writeUInt32LE(
        prng.pick([0xffff_ffff, 0x8000_0000, 0x7fff_ffff, 8 * 1024 * 1024, 0]),
        at % (garbled.length - 3),
      )
      return garbled
    case 4:
      return garbled.fill(prng.pick([0, 0xff]), at, Math.min(at + prng.below(40), garbled.length))
    case 5:
      prng.bytes(prng.below(40)).copy(garbled, at)
      return garbled
    default:
      // A piece of it elsewhere.
      garbled.copy(garbled, prng.below(garbled.length), at, at + prng.below(60))
      return garbled
  }
}

/** Runs the reader on garbled bytes. @returns what it made of them, or null when it found them bad */
function read<T>(reader: () => T): T | null {
  try {
    return reader()
  } catch (error) {
    if (error instanceof FormatError) return null
    throw error
  }
}

interface Written {
  readonly key: Buffer
  readonly value: Buffer
  readonly deleted: boolean
  readonly offsetBytes: number
}

function segmentFile(
  salt: number | null,
  prng: Prng,
): { readonly bytes: Buffer; readonly entries: readonly Written[] } {
  const incarnation = prng.bytes(8)
  const header = encodeFileHeader({ segmentId: 3, salt: salt ?? 1, incarnation })
  if (salt === null) header.fill(0, 8, 12)
  const parts = [header]
  const entries: Written[] = []
  let offsetBytes = header.length
  for (let index = 0; index < 8; index++) {
    const deleted = index % 4 === 3
    const key = prng.bytes(1 + prng.below(20))
    const value = prng.bytes(deleted ? 0 : prng.below(60))
    const fields = { valueBytes: value.length, valueCrc: zdbCrc(value), deleted, timestampSeconds: index }
    entries.push({ key, value, deleted, offsetBytes })
    parts.push(encodeEntryHead(key, fields, { salt: salt ?? 0, offsetBytes }), value)
    offsetBytes += 18 + key.length + value.length
  }
  return { bytes: Buffer.concat(parts), entries }
}

/** A file that remembers the most that was asked of it. */
function watched(bytes: Buffer) {
  const asked = { mostBytes: 0, reads: 0 }
  const readSync = (offsetBytes: number, lengthBytes: number) => {
    asked.mostBytes = Math.max(asked.mostBytes, lengthBytes)
    asked.reads++
    return bytes.subarray(offsetBytes, offsetBytes + lengthBytes)
  }
  return { asked, file: { sizeBytes: bytes.length, readSync } }
}

for (const salt of [0x1234_5678, null]) {
  const count = salt === null ? cases.unmarked : cases.segment
  test(`${count} garbled data files, ${salt === null ? 'as 0-db writes them' : 'with our check'}: no entry that was not written`, t => {
    const prng = seededPrng(t)
    const { bytes, entries } = segmentFile(salt, prng)
    const known = new Map(entries.map(entry => [entry.offsetBytes, entry]))
    for (let number = 0; number < count; number++) {
      const garbled = garble(bytes, prng)
      read(() => decodeFileHeader(garbled))
      const { file, asked } = watched(garbled)
      const bounds = {
        syncedBytes: prng.below(bytes.length + 50),
        ...(prng.chance(0.5) ? { endBytes: bytes.length } : {}),
      }
      const { goodBytes } = scanEntries(file, salt, bounds, ({ key, value, deleted, offsetBytes }) => {
        if (salt === null) return
        const entry = known.get(offsetBytes)
        assert(entry?.key.equals(key) && entry.value.equals(value) && entry.deleted === deleted, `at ${offsetBytes}`)
      })
      assert(goodBytes <= Math.max(28, garbled.length))
      assert(asked.mostBytes <= garbled.length && asked.reads < 2_000, `${asked.reads} reads, ${asked.mostBytes} bytes`)
      const { key, value, offsetBytes, deleted } = prng.pick(entries)
      const place = { offsetBytes, valueBytes: value.length }
      const found = verifiedValue(
        garbled.subarray(offsetBytes, offsetBytes + 18 + key.length + value.length),
        key,
        place,
        salt,
      )
      // 0-db's files say by no checksum whether an entry is a deletion.
      assert(found === null || (deleted ? salt === null : found.equals(value)))
    }
  })
}

test(`${cases.hint} garbled hints: what was written, or nothing`, t => {
  const prng = seededPrng(t)
  const entries = new HintEntries()
  for (let index = 0; index < 8; index++) {
    const tombstone = index % 3 === 2 ? { killsOne: index % 2 === 0, originSegmentId: index } : null
    const place = { offsetBytes: 28 + index * 50, valueBytes: index, valueCrc: index, timestampSeconds: index }
    entries.add({ key: prng.bytes(1 + prng.below(20)), ...place, tombstone, copied: false })
  }
  const identity = { segmentId: 3, salt: 5, incarnation: prng.bytes(8), dataBytes: 900, firstId: 0, nextId: 8 }
  const bytes = Buffer.concat([...encodeHint(identity, entries)])
  const whole = decodeHint(bytes)
  for (let number = 0; number < cases.hint; number++) {
    const garbled = garble(bytes, prng)
    const found = read(() => decodeHint(garbled))
    if (found !== null) assert.deepEqual(found, whole)
    // Without the checksums: lengths that lead nowhere are seen as such.
    read(() => {
      const count = [...hintRecords(garbled)].length
      assert(count <= garbled.length / 22)
    })
  }
})

const records: readonly ManifestRecord[] = [
  { type: 'settings', mode: 'user', public: true, worm: false, maxBytes: 7, password: 'secret' },
  { type: 'opens', segmentId: 0, salt: 1, previousEndBytes: 0, nextId: 0 },
  { type: 'opens', segmentId: 1, salt: 2, previousEndBytes: 500, nextId: 9 },
  { type: 'closed', segmentId: 0, dataBytes: 500, salt: 1 },
  { type: 'stored', segmentId: 0, objectId: '00112233445566778899aabbccddeeff' },
  { type: 'synced', segmentId: 1, syncedBytes: 300 },
  { type: 'absent', segmentId: 0, objectId: '00112233445566778899aabbccddeeff' },
  { type: 'ends', segmentId: 1, endBytes: 400 },
]

test(`${cases.manifest} garbled manifests: records that were written, up to the first that was not`, t => {
  const prng = seededPrng(t)
  const incarnation = prng.bytes(8)
  const bytes = Buffer.concat([
    encodeManifestHeader(incarnation),
    ...records.map(one => encodeRecord(one, incarnation)),
  ])
  const known = new Set(decodeManifest(bytes).records.map(record => JSON.stringify(record)))
  for (let number = 0; number < cases.manifest; number++) {
    const garbled = garble(bytes, prng)
    const found = read(() => decodeManifest(garbled))
    if (found === null) continue
    for (const record of found.records) assert(known.has(JSON.stringify(record)), JSON.stringify(record))
    assert(found.goodBytes <= garbled.length && found.incarnation.equals(incarnation))
  }
})

test(`${cases.point} garbled point files: the point, or nothing`, t => {
  const prng = seededPrng(t)
  const settings = { mode: 'user', public: true, worm: false, maxBytes: 0, password: 'p' } as const
  const segments = Array.from({ length: 4 }, (_, segmentId) => {
    return { segmentId, dataBytes: 100, salt: segmentId, objectId: prng.bytes(16).toString('hex') }
  })
  const namespaces = ['data', 'meta'].map(name => ({ name, incarnation: prng.bytes(8), nextId: 3, settings, segments }))
  const point: Point = { number: 2, previous: 1, epoch: 0, timestampSeconds: 9, namespaces }
  const body = [...pointBody(point)]
  const bytes = Buffer.concat([pointHeader(point, body), ...body])
  for (let number = 0; number < cases.point; number++) {
    const garbled = garble(bytes, prng)
    const found = read(() => decodePoint(garbled))
    if (found !== null) assert.deepEqual(found, point)
  }
})

test(`${cases.namespace} namespaces with garbled files: opened or refused with a reason, never a value that was not written`, async t => {
  const prng = seededPrng(t)
  const storage = new SimulatedStorage()
  storage.makeDirectory('/data')
  const written = new Map<string, Set<string>>()
  {
    const namespace = await openNamespace(engineContext(storage, prngFromSeed(1), { segmentBytesMax: 400 }), 'user')
    for (let step = 0; step < 40; step++) {
      const key = Buffer.from(`k${prng.below(8)}`)
      if (step % 6 === 5 && (await namespace.get(key, { cold: 'wait' })) !== null) namespace.delete(key)
      else {
        const value = prng.bytes(prng.below(90))
        namespace.put(key, value)
        const hex = key.toString('hex')
        written.set(hex, (written.get(hex) ?? new Set()).add(digest(value)))
      }
      if (step % 10 === 9) await namespace.sync()
    }
    await namespace[Symbol.asyncDispose]()
  }
  const files = storage.list('/data/ns').map(({ name }) => `/data/ns/${name}`)
  let opened = 0
  for (let number = 0; number < cases.namespace; number++) {
    const damaged = storage.kill()
    for (let count = 1 + prng.below(3); count > 0; count--) {
      const path = prng.pick(files)
      damaged.put(path, garble(damaged.bytesOf(path), prng))
    }
    const context = engineContext(damaged, prngFromSeed(number))
    const namespace = await openNamespace(context, 'user').catch((error: unknown) => {
      if (error instanceof FormatError || error instanceof SegmentUnavailable) return null
      throw new Error(`case ${number}`, { cause: error })
    })
    if (namespace === null) continue
    opened++
    for (const [hex, digests] of written) {
      const value: Buffer | null = await Promise.resolve(
        namespace.get(Buffer.from(hex, 'hex'), { cold: 'wait' }),
      ).catch((error: unknown) => {
        if (error instanceof SegmentUnavailable) return null
        throw error
      })
      assert(value === null || digests.has(digest(value)), `case ${number}: ${hex}`)
    }
    await namespace[Symbol.asyncDispose]()
  }
  assert(opened > cases.namespace / 4, `${opened} were opened`)
})
