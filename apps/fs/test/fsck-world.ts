import { crc32c } from '@qsfs/bytes/checksum'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import { type FsckReport, fsck } from '../src/fsck/fsck.ts'
import type { Onlooker, StoredBlock } from '../src/fsck/view/onlooker.ts'
import { RecordSnapshot } from '../src/fsck/view/record-snapshot.ts'
import { decodeCheckpoint, encodeCheckpoint } from '../src/tree/checkpoint-format.ts'
import { type DirectoryName, decodeBucket, encodeNames } from '../src/tree/directory/directory-format.ts'
import type { Inode } from '../src/tree/inode.ts'
import { decodeInodes, encodeInodes, inodesPerRecord } from '../src/tree/inode-format.ts'
import { Driver } from './driver.ts'
import { type SimulatedDisk, SimulatedStore } from './simulated-disk.ts'

/** What a check sees of a simulated disk. */
export function onlookerOf(disk: SimulatedDisk): Onlooker {
  let seen = { at: -1, records: new Map<string, Buffer>() }
  const records = () => {
    if (seen.at !== disk.records.length) seen = { at: disk.records.length, records: disk.liveRecords() }
    return seen.records
  }
  return {
    nextBlockId: async () => disk.nextBlockId,
    getRecord: async key => records().get(key) ?? null,
    async *recordKeys() {
      yield [...records().keys()]
    },
    async *blocks() {
      yield [...disk.liveBlocks()].map(([id, bytes]): StoredBlock => ({ id, sizeBytes: bytes.length }))
    },
    getBlock: async id => disk.liveBlocks().get(id) ?? null,
  }
}

export function check(
  disk: SimulatedDisk,
  directory: string,
  { repair = false, deep = false } = {},
): Promise<FsckReport> {
  let snapshots = 0
  return fsck(onlookerOf(disk), systemClock, silentLog, {
    snapshot: () => RecordSnapshot.create(directory, `scratch-${snapshots++}`),
    deep,
    openStore: repair ? async () => new SimulatedStore(disk) : null,
  })
}

/** Changes records of an unmounted filesystem behind its back. */
export class Vandal {
  readonly disk: SimulatedDisk

  constructor(disk: SimulatedDisk) {
    this.disk = disk
  }

  get(key: string): Buffer {
    const bytes = this.disk.liveRecords().get(key)
    if (bytes === undefined) throw new Error(`there is no record ${key}`)
    return bytes
  }
  set(key: string, value: Buffer | null): void {
    this.disk.records.push({ key, value })
  }
  keys(pattern: RegExp): string[] {
    return [...this.disk.liveRecords().keys()].filter(key => pattern.test(key)).sort()
  }
  /** Bytes that end with the checksum of what is before. */
  setChecked(key: string, bytes: Buffer): void {
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4)
    this.set(key, bytes)
  }
  /** One bit of the magic. */
  spoil(key: string): void {
    const bytes = Buffer.from(this.get(key))
    bytes[0]! ^= 1
    this.set(key, bytes)
  }

  inode(nodeId: number, change: (inode: Inode) => void): void {
    this.#inodes(nodeId, inodes => change(inodes[nodeId % inodesPerRecord]!))
  }
  dropInode(nodeId: number): void {
    this.#inodes(nodeId, inodes => {
      inodes[nodeId % inodesPerRecord] = null
    })
  }

  /** The names of one bucket. */
  names(nodeId: number, path: string, change: (names: DirectoryName[]) => readonly DirectoryName[]): void {
    const stored = decodeBucket({ nodeId, path }, this.get(`d${nodeId}.${path}`))
    if (!('names' in stored)) throw new Error('a split')
    this.set(`d${nodeId}.${path}`, encodeNames({ nodeId, path }, change(stored.names)))
  }

  loose(id: number): void {
    const checkpoint = decodeCheckpoint(this.get('c'))!
    this.set('c', encodeCheckpoint({ ...checkpoint, loose: [...checkpoint.loose, id] }))
  }

  #inodes(nodeId: number, change: (inodes: (Inode | null)[]) => void): void {
    const first = nodeId - (nodeId % inodesPerRecord)
    const key = `i${first / inodesPerRecord}`
    const inodes = decodeInodes(first, this.get(key))
    change(inodes)
    this.set(key, encodeInodes(first, inodes))
  }
}

/** Inode numbers of the tree that `plant` makes. */
export interface Planted {
  readonly file: number
  readonly big: number
  readonly twice: number
  readonly link: number
  readonly dir: number
  readonly sub: number
  readonly inner: number
  readonly wide: number
}

export const bigBytes = 20 * 1024 * 1024

/** A small tree with one of everything, cleanly unmounted. */
export async function plant(disk: SimulatedDisk): Promise<Planted> {
  await using driver = await Driver.mount(new SimulatedStore(disk))
  await driver.create('file')
  await driver.write('file', 0, Buffer.from('some bytes'))
  await driver.create('big')
  for (let at = 0; at < bigBytes; at += 2 * 1024 * 1024) await driver.write('big', at, Buffer.from(`at ${at}`))
  await driver.create('twice')
  await driver.link('twice', 'again')
  await driver.symlink('link', 'file')
  await driver.mkdir('dir')
  await driver.mkdir('dir/sub')
  await driver.create('dir/sub/inner')
  await driver.write('dir/sub/inner', 3, Buffer.from('inner bytes'))
  await driver.mkdir('wide')
  for (let index = 0; index < 300; index++) await driver.create(`wide/name ${index}`)
  const long = Buffer.alloc(4000, 'x')
  await driver.at('file', nodeId =>
    driver.filesystem.setxattr!(nodeId, Buffer.from('user.long'), long, 0, undefined as never),
  )
  await driver.volume.sync()
  const number = async (path: string) => (await driver.stat(path)).nodeId
  return {
    file: await number('file'),
    big: await number('big'),
    twice: await number('twice'),
    link: await number('link'),
    dir: await number('dir'),
    sub: await number('dir/sub'),
    inner: await number('dir/sub/inner'),
    wide: await number('wide'),
  }
}
