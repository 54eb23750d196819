import assert from 'node:assert'
import { createHmac } from 'node:crypto'
import { blake2b } from '@noble/hashes/blake2.js'
import { boxKeyId, boxOverheadBytes, openBox, sealBox } from './box.ts'
import { KeyError } from './errors.ts'
import { type RandomBytes, Secret, secretBytes } from './secret.ts'

/** One label per purpose: a key derived for one never serves another. Labels never change. */
const label = {
  rootWrap: 'qsfs 1 root wrap',
  objectWrap: 'qsfs 1 object wrap',
  records: 'qsfs 1 records',
  names: 'qsfs 1 names',
  recordShards: 'qsfs 1 record shards',
  frames: 'qsfs 1 object frames',
  pieces: 'qsfs 1 object pieces',
  headers: 'qsfs 1 object shard headers',
} as const

const rootContext = Buffer.from('root key')

/** Length of a wrapped key. */
export const wrappedKeyBytes = secretBytes + boxOverheadBytes

/** A root key as the superblock stores it: under the master secret, which may change without anything else changing. */
export function wrapRoot(master: Secret, rootId: number, root: Secret, random: RandomBytes): Buffer {
  return sealBox(master.derive(label.rootWrap), rootId, root.expose(), rootContext, random)
}

/** @throws KeyError 'wrong-key' when another master wrapped it, 'damaged' */
export function unwrapRoot(master: Secret, wrapped: Buffer): { rootId: number; root: Secret } {
  const root = openSecret(master.derive(label.rootWrap), wrapped, rootContext)
  return { rootId: boxKeyId(wrapped), root }
}

/** The root keys of one store. The newest seals, all open; the first one names, for ever. */
export class KeyRing {
  #roots: ReadonlyMap<number, Secret>
  readonly #derived = new Map<string, Secret>()
  readonly #random: RandomBytes
  #newestId: number
  readonly #firstId: number

  /** @param roots at least one, by id */
  constructor(roots: ReadonlyMap<number, Secret>, random: RandomBytes) {
    assert(roots.size > 0, 'a key ring holds a root key')
    this.#roots = new Map(roots)
    this.#random = random
    this.#newestId = Math.max(...roots.keys())
    this.#firstId = Math.min(...roots.keys())
  }

  /** What the store's first start generates. */
  static fresh(random: RandomBytes): KeyRing {
    return new KeyRing(new Map([[1, Secret.random(random)]]), random)
  }

  get rootIds(): readonly number[] {
    return [...this.#roots.keys()]
  }

  /** The root key that seals from now on. */
  get newestRootId(): number {
    return this.#newestId
  }

  /** The same keys and one new root. Nothing may be sealed under it before the superblock that has it is written. */
  grown(): KeyRing {
    const roots = new Map(this.#roots).set(this.#newestId + 1, Secret.random(this.#random))
    return new KeyRing(roots, this.#random)
  }

  /** Goes on with the roots of a ring that has all of ours: what others hold of this ring is renewed with it. */
  adopt(grown: KeyRing): void {
    for (const [id, root] of this.#roots) assert(grown.#roots.get(id)?.expose().equals(root.expose()), 'a grown ring')
    this.#roots = grown.#roots
    this.#newestId = grown.#newestId
  }

  /** Every root key under `master`, for the superblock. */
  wrapRoots(master: Secret): Buffer[] {
    return [...this.#roots].map(([rootId, root]) => wrapRoot(master, rootId, root, this.#random))
  }

  /** A new key for one upload attempt, and its wrapped form for the record and the shard headers. */
  newObjectKeys(objectId: Buffer): { keys: ObjectKeys; wrappedKey: Buffer } {
    const objectKey = Secret.random(this.#random)
    const wrapping = this.#purpose(this.#newestId, label.objectWrap)
    const wrappedKey = sealBox(wrapping, this.#newestId, objectKey.expose(), objectContext(objectId), this.#random)
    return { keys: new ObjectKeys(objectKey), wrappedKey }
  }

  /** @throws KeyError 'wrong-key' when it belongs to another store, 'damaged' when it is not this object's, or hurt */
  openObjectKeys(wrappedKey: Buffer, objectId: Buffer): ObjectKeys {
    const wrapping = this.#purpose(boxKeyId(wrappedKey), label.objectWrap)
    return new ObjectKeys(openSecret(wrapping, wrappedKey, objectContext(objectId)))
  }

  /** An object's key under the newest root; null when it is already.
   *  @throws as openObjectKeys */
  rewrapObjectKey(wrappedKey: Buffer, objectId: Buffer): Buffer | null {
    const rootId = boxKeyId(wrappedKey)
    if (rootId === this.#newestId) return null
    const objectKey = openSecret(this.#purpose(rootId, label.objectWrap), wrappedKey, objectContext(objectId))
    const wrapping = this.#purpose(this.#newestId, label.objectWrap)
    return sealBox(wrapping, this.#newestId, objectKey.expose(), objectContext(objectId), this.#random)
  }

  /** Seals a metadata record. @param context what it is the record of */
  sealRecord(plain: Uint8Array, context: Uint8Array): Buffer {
    return sealBox(this.#purpose(this.#newestId, label.records), this.#newestId, plain, context, this.#random)
  }

  /** Length of a record of that many plain bytes, sealed. */
  sealedBytesOf(plainBytes: number): number {
    return plainBytes + boxOverheadBytes
  }

  /** @throws KeyError 'wrong-key' or 'damaged' */
  openRecord(sealed: Buffer, context: Uint8Array): Buffer {
    return openBox(this.#purpose(boxKeyId(sealed), label.records), sealed, context)
  }

  /** The root key that sealed a record.
   *  @throws KeyError 'damaged' */
  rootIdOf(sealed: Buffer): number {
    return boxKeyId(sealed)
  }

  /** 16 bytes by which a name is looked up without being told: BLAKE2b-128 under the first root's key. */
  nameHash(name: string): Buffer {
    const key = this.#purpose(this.#firstId, label.names).expose()
    return Buffer.from(blake2b(Buffer.from(name), { key, dkLen: 16 }))
  }

  /** 16 bytes that only a holder of the first root key can compute: HMAC-SHA-256, cut. For the shards of records. */
  recordMac(...parts: readonly Uint8Array[]): Buffer {
    const mac = createHmac('sha256', this.#purpose(this.#firstId, label.recordShards).expose())
    for (const part of parts) mac.update(part)
    return mac.digest().subarray(0, 16)
  }

  #purpose(rootId: number, purpose: string): Secret {
    const cached = this.#derived.get(`${rootId} ${purpose}`)
    if (cached !== undefined) return cached
    const root = this.#roots.get(rootId)
    if (root === undefined)
      throw new KeyError('wrong-key', `this was sealed under root key ${rootId}, which is not here`)
    const derived = root.derive(purpose)
    this.#derived.set(`${rootId} ${purpose}`, derived)
    return derived
  }
}

/** The three keys of one object. */
export class ObjectKeys {
  readonly frames: Secret
  readonly pieces: Secret
  readonly headers: Secret

  constructor(objectKey: Secret) {
    this.frames = objectKey.derive(label.frames)
    this.pieces = objectKey.derive(label.pieces)
    this.headers = objectKey.derive(label.headers)
  }
}

function objectContext(objectId: Buffer): Buffer {
  return Buffer.concat([Buffer.from('object key '), objectId])
}

function openSecret(key: Secret, wrapped: Buffer, context: Buffer): Secret {
  if (wrapped.length !== wrappedKeyBytes) {
    throw new KeyError('damaged', `a wrapped key has ${wrappedKeyBytes} bytes, not ${wrapped.length}`)
  }
  return new Secret(openBox(key, wrapped, context))
}
