import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import { silentLog } from '@qsfs/telemetry/log'
import type { RequestChannel } from './channel.ts'
import { Errno, FuseError } from './errno.ts'
import type { Filesystem, KernelPages } from './filesystem.ts'
import { RequestCounts } from './request-counts.ts'
import type { RequestJournal } from './resume/request-journal.ts'
import { type SessionOptions, serve } from './session.ts'
import { MemoryFilesystem } from './testing/memory-filesystem.ts'

/** A channel without a kernel: what the test sends, and what came back. */
class FakeChannel implements RequestChannel {
  readonly replies: Buffer[] = []
  readonly notifications: Buffer[] = []
  readonly #ended = Promise.withResolvers<void>()
  #onRequest: (request: Buffer) => void = () => undefined

  receive(onRequest: (request: Buffer) => void): Promise<void> {
    this.#onRequest = onRequest
    return this.#ended.promise
  }

  reply(head: Uint8Array, parts: readonly Uint8Array[]): void {
    this.replies.push(Buffer.concat([head, ...parts]))
  }

  leave(): void {
    this.#onRequest = () => undefined
  }

  async notify(message: Uint8Array): Promise<void> {
    this.notifications.push(Buffer.from(message))
  }

  /** In a buffer that is overwritten when the request was taken, as the one of the kernel's channel is. */
  send(request: Buffer): Buffer | undefined {
    const borrowed = Buffer.from(request)
    this.#onRequest(borrowed)
    borrowed.fill(0xee)
    return this.replies.at(-1)
  }

  unmount(): void {
    this.#ended.resolve()
  }
}

/** Bytes as hex, each line with the name of its field. */
function hex(text: string): Buffer {
  return Buffer.from(text.replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex')
}

function session(filesystem: Filesystem, options: Partial<SessionOptions> = {}) {
  const channel = new FakeChannel()
  const lifetimes = { entryTtlSeconds: 600, attrTtlSeconds: 300 }
  const served = serve(filesystem, channel, { ...lifetimes, maxBackground: 32, log: silentLog, ...options })
  return { channel, served }
}

/** A request by hand: header and body. */
function request(opcode: number, unique: number, nodeId: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(40)
  header.writeUInt32LE(40 + body.length, 0)
  header.writeUInt32LE(opcode, 4)
  header.writeBigUInt64LE(BigInt(unique), 8)
  header.writeBigUInt64LE(BigInt(nodeId), 16)
  return Buffer.concat([header, body])
}

test('INIT of Linux 6.18 (FUSE 7.45) is answered with what we want of it', () => {
  let initialised = 0
  const filesystem = Object.assign(new MemoryFilesystem(), { init: () => initialised++ })
  const { channel } = session(filesystem)
  const reply = channel.send(
    hex(`
      68000000          # length 104
      1a000000          # opcode 26, INIT
      0200000000000000  # unique 2
      0000000000000000  # node 0
      00000000 00000000 00000000  # uid, gid, pid
      0000 0000         # extension words, padding
      07000000 2d000000 # 7.45
      00000200          # max_readahead 128 KiB
      fbffff73          # flags: bits 0 to 30 but FILE_OPS 2, MAP_ALIGNMENT 26 and SUBMOUNTS 27
      fe070000          # flags2: up to REQUEST_TIMEOUT
      ${'00'.repeat(44)} # unused`),
  )
  assert.deepEqual(
    reply,
    hex(`
      50000000          # length 80
      00000000          # error 0
      0200000000000000  # unique 2
      07000000 2d000000 # 7.45
      00001000          # max_readahead 1 MiB
      29e0e550          # flags: ASYNC_READ 0, ATOMIC_O_TRUNC 3, BIG_WRITES 5; DO_READDIRPLUS 13, READDIRPLUS_AUTO 14,
                        # ASYNC_DIO 15; WRITEBACK_CACHE 16, PARALLEL_DIROPS 18, ABORT_ERROR 21, MAX_PAGES 22,
                        # CACHE_SYMLINKS 23; HANDLE_KILLPRIV_V2 28, INIT_EXT 30
      2000 1800         # max_background 32, congestion_threshold 24
      00001000          # max_write 1 MiB
      01000000          # time_gran 1 ns
      0001 0000         # max_pages 256, map_alignment
      80000000          # flags2: HAS_RESEND 39
      ${'00'.repeat(28)} # unused`),
  )
  assert.equal(initialised, 1)
})

test('an attribute that is not there is an answer, and the next one is none', () => {
  const { channel } = session(new MemoryFilesystem())
  // fuse_getxattr_in with room for 16 bytes, and the name.
  const body = Buffer.concat([Buffer.from([16, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('security.capability\0')])
  const reply = channel.send(request(22, 4, 1, body))
  assert.deepEqual(reply, hex(`10000000 c3ffffff 0400000000000000  # length 16, error -61 ENODATA, unique 4`))
  assert.equal(channel.send(request(3, 6, 1))?.readInt32LE(4), 0)
})

test('a kernel of 2014 gets less, an older one EPROTO, a newer major is asked to come down', () => {
  const { channel } = session(new MemoryFilesystem())
  const init = (major: number, minor: number) => {
    const body = Buffer.alloc(16)
    body.writeUInt32LE(major, 0)
    body.writeUInt32LE(minor, 4)
    return channel.send(request(26, 2, 0, body))
  }
  assert.equal(init(7, 23)?.readUInt32LE(16 + 20), 32 * 4096)
  assert.equal(init(7, 22)?.readInt32LE(4), -Errno.EPROTO)
  assert.equal(init(8, 1)?.readUInt32LE(16), 7)
})

test('a filesystem that answers OPEN with ENOSYS hears of each truncation by SETATTR, one with ACLs masks by itself', () => {
  const flagsFor = (filesystem: Filesystem) => {
    const offer = hex(`07000000 2d000000 00000200 fbffff73 fe070000 ${'00'.repeat(44)}`)
    return session(filesystem)
      .channel.send(request(26, 2, 0, offer))!
      .readUInt32LE(16 + 12)
  }
  const usual = flagsFor(new MemoryFilesystem())
  assert.equal(flagsFor(Object.assign(new MemoryFilesystem(), { opensSilently: true })), usual & ~(1 << 3))
  const withAcl = flagsFor(Object.assign(new MemoryFilesystem(), { wantsPosixAcl: true }))
  assert.equal(withAcl, usual | (1 << 20) | (1 << 6))
})

test('LOOKUP: an entry, and a name that does not exist', () => {
  const filesystem = new MemoryFilesystem()
  const { channel } = session(filesystem)
  const context = { uid: 7, gid: 8, pid: 9, signal: new AbortController().signal }
  filesystem.create(1, Buffer.from('ab'), 0o100640, 0, context)
  const when = { seconds: -2, nanos: 5 }
  filesystem.setattr(2, { atime: when, mtime: when, ctime: when })
  const lookup = (name: string) => channel.send(request(1, 0x1234, 1, Buffer.from(`${name}\0`)))
  assert.deepEqual(
    lookup('ab'),
    hex(`
      90000000 00000000 3412000000000000  # length 144, error 0, unique
      0200000000000000 0000000000000000   # node 2, generation 0
      5802000000000000 2c01000000000000   # entry 600 s, attributes 300 s
      00000000 00000000                   # their nanoseconds
      0200000000000000 0000000000000000 0000000000000000  # ino 2, size 0, blocks 0
      feffffffffffffff feffffffffffffff feffffffffffffff  # atime, mtime, ctime: -2 s
      05000000 05000000 05000000          # their nanoseconds
      a0810000 01000000                   # mode 0100640, 1 link
      07000000 08000000 00000000          # uid 7, gid 8, rdev 0
      00100000 00000000                   # block size 4096, flags 0`),
  )
  assert.deepEqual(
    lookup('no'),
    hex(`
      90000000 00000000 3412000000000000  # not an error: node 0 may be remembered, for
      0000000000000000 0000000000000000
      5802000000000000 2c01000000000000   # 600 s
      ${'00'.repeat(96)}`),
  )
  assert.equal(lookup('x'.repeat(256))?.readInt32LE(4), -Errno.ENAMETOOLONG)
  assert.equal(lookup('')?.readInt32LE(4), -Errno.EINVAL)
})

test('WRITE and READ', () => {
  const filesystem = new MemoryFilesystem()
  const { channel } = session(filesystem)
  channel.send(
    hex(`
      3a000000 23000000 0600000000000000 0100000000000000  # length 58, CREATE, unique 6, node 1
      00000000 00000000 00000000 0000 0000                  # uid, gid, pid, extensions
      42000000 a4810000 12000000 00000000                   # O_RDWR | O_CREAT, mode 0100644, umask 022, open flags
      6600                                                  # "f"`),
  )
  const write = hex(`
      55000000 10000000 0800000000000000 0200000000000000  # length 85, WRITE, unique 8, node 2
      00000000 00000000 00000000 0000 0000
      0000000000000000 0300000000000000                     # fh 0, offset 3
      05000000 01000000                                     # 5 bytes, from the page cache
      0000000000000080                                      # lock owner: 64 bits that are no number of ours
      00000000 00000000                                     # flags, padding
      68656c6c6f                                            # "hello"`)
  assert.deepEqual(channel.send(write), hex('18000000 00000000 0800000000000000 05000000 00000000'))
  const read = hex(`
      50000000 0f000000 0a00000000000000 0200000000000000  # length 80, READ, unique 10, node 2
      00000000 00000000 00000000 0000 0000
      0000000000000000 0200000000000000 00100000 00000000   # fh 0, offset 2, 4096 bytes, read flags
      0000000000000000 00000000 00000000                    # lock owner, flags, padding`)
  assert.deepEqual(channel.send(read), hex('16000000 00000000 0a00000000000000 0068656c6c6f'))
  read.writeBigUInt64LE(2n ** 60n, 48)
  assert.equal(channel.send(read)?.readInt32LE(4), -Errno.EFBIG)
})

test('READDIR pads each name to 8 bytes, and asks again for what did not fit', () => {
  const filesystem = new MemoryFilesystem()
  const { channel } = session(filesystem)
  const body = Buffer.alloc(40)
  body.writeUInt32LE(70, 16)
  assert.deepEqual(
    channel.send(request(28, 2, 1, body)),
    hex(`
      50000000 00000000 0200000000000000
      0100000000000000 0100000000000000 01000000 04000000  # ino 1, next cursor 1, 1 byte, DT_DIR
      2e00000000000000                                      # "."
      0100000000000000 0200000000000000 02000000 04000000
      2e2e000000000000`),
  )
})

test('what is not known is ENOSYS and counted; FORGET is never answered', () => {
  const filesystem = new MemoryFilesystem()
  const counts = new RequestCounts()
  const { channel } = session(filesystem, { counts })
  for (const opcode of [7, 54, 99, 4096]) {
    assert.equal(channel.send(request(opcode, 4, 1))?.readInt32LE(4), -Errno.ENOSYS)
  }
  assert.equal(counts.of('unknown'), 4)
  filesystem.lookupCounts.set(2, 3).set(3, 1)
  const replies = channel.replies.length
  channel.send(request(2, 6, 2, hex('0100000000000000')))
  channel.send(
    request(
      42,
      8,
      0,
      hex(`02000000 00000000                  # two of them
           0200000000000000 0200000000000000  # node 2, twice
           0300000000000000 0100000000000000`),
    ),
  )
  // More than is there, and too often: reported, not answered.
  channel.send(request(42, 8, 0, hex('ffffffff 00000000')))
  channel.send(request(2, 6, 2, hex('0100000000000000')))
  assert.equal(channel.replies.length, replies)
  assert.equal(filesystem.lookupCounts.size, 0)
})

test('INTERRUPT aborts the request it names, and a late answer still goes out', async () => {
  const filesystem = new MemoryFilesystem()
  const { channel, served } = session(filesystem)
  const context = { uid: 0, gid: 0, pid: 0, signal: new AbortController().signal }
  filesystem.create(1, Buffer.from('hang'), 0o100644, 0, context)
  channel.send(request(15, 20, 2, Buffer.alloc(40)))
  channel.send(request(15, 22, 2, Buffer.alloc(40)))
  channel.send(request(36, 23, 0, hex('1600000000000000')))
  channel.send(request(36, 25, 0, hex('9900000000000000')))
  await new Promise(resolve => setImmediate(resolve))
  assert.deepEqual(channel.replies, [hex('10000000 fcffffff 1600000000000000')])
  channel.unmount()
  await served
  assert.deepEqual(channel.replies.at(-1), hex('10000000 fcffffff 1400000000000000'))
  assert.equal(filesystem.destroyed, true)
})

test('who stops waiting for a read is answered at once, whatever the filesystem does; a change goes on', async () => {
  const answers = { read: Promise.withResolvers<Buffer[]>(), unlink: Promise.withResolvers<void>() }
  const slow = { read: () => answers.read.promise, unlink: () => answers.unlink.promise }
  const { channel, served } = session(Object.assign(new MemoryFilesystem(), slow))
  channel.send(request(15, 20, 2, Buffer.alloc(40)))
  channel.send(request(10, 22, 1, Buffer.from('name\0')))
  channel.send(request(36, 23, 0, hex('1400000000000000')))
  channel.send(request(36, 25, 0, hex('1600000000000000')))
  assert.deepEqual(channel.replies, [hex('10000000 fcffffff 1400000000000000')])
  answers.read.resolve([Buffer.from('too late')])
  answers.unlink.resolve()
  await new Promise(resolve => setImmediate(resolve))
  assert.deepEqual(channel.replies.slice(1), [hex('10000000 00000000 1600000000000000')])
  channel.unmount()
  await served
})

test('an unexpected error is EIO, a broken channel or a failed assertion ends the session', async () => {
  const failing = Object.assign(new MemoryFilesystem(), {
    getattr: () => {
      throw new Error('oops')
    },
  })
  const first = session(failing)
  assert.equal(first.channel.send(request(3, 2, 1, Buffer.alloc(16)))?.readInt32LE(4), -Errno.EIO)
  const cut = request(3, 2, 1, Buffer.alloc(16)).subarray(0, 50)
  first.channel.send(cut)
  await assert.rejects(first.served, RangeError)
  const wrong = Object.assign(new MemoryFilesystem(), { getattr: () => assert.fail('a bug') })
  const second = session(wrong)
  second.channel.send(request(3, 2, 1, Buffer.alloc(16)))
  await assert.rejects(second.served, assert.AssertionError)
})

test('a filesystem that answers nonsense costs its caller EIO', () => {
  const { channel } = session(Object.assign(new MemoryFilesystem(), { open: () => ({ fh: -1, openFlags: 0 }) }))
  assert.equal(channel.send(request(14, 2, 1, Buffer.alloc(8)))?.readInt32LE(4), -Errno.EIO)
})

test('LSEEK, COPY_FILE_RANGE in both spellings, TMPFILE: ENOSYS without them, else their answers', () => {
  const seek = request(46, 2, 5, hex('0000000000000000 0010000000000000 03000000 00000000')) // SEEK_DATA from 4096
  const copyBody = hex(`
      0000000000000000 0100000000000000  # fh 0, offset 1
      0600000000000000 0000000000000000  # to node 6, fh 0
      0200000000000000                   # to offset 2
      ffffffffffffffff 0000000000000000  # as much as there is, no flags`)
  const tmpfile = request(51, 8, 1, hex('02004100 a4810000 00000000 00000000 2f00'))
  const plain = session(new MemoryFilesystem()).channel
  for (const bytes of [seek, request(47, 4, 5, copyBody), request(53, 6, 5, copyBody), tmpfile]) {
    assert.equal(plain.send(bytes)?.readInt32LE(4), -Errno.ENOSYS)
  }
  const asked: unknown[] = []
  const { channel } = session(
    Object.assign(new MemoryFilesystem(), {
      lseek: (...args: Parameters<NonNullable<Filesystem['lseek']>>) => asked.push(args.slice(0, 4)) && 8192,
      copyFileRange: (...args: Parameters<NonNullable<Filesystem['copyFileRange']>>) =>
        asked.push(args.slice(0, 2)) && 77,
    }),
  )
  assert.deepEqual(channel.send(seek), hex('18000000 00000000 0200000000000000 0020000000000000'))
  assert.deepEqual(
    channel.send(request(47, 4, 5, copyBody)),
    hex('18000000 00000000 0400000000000000 4d000000 00000000'),
  )
  assert.deepEqual(
    channel.send(request(53, 6, 5, copyBody)),
    hex('18000000 00000000 0600000000000000 4d00000000000000'),
  )
  const copy = [
    { node: 5, offsetBytes: 1, lengthBytes: 0xffff_f000 },
    { node: 6, offsetBytes: 2 },
  ]
  assert.deepEqual(asked, [[5, 0, 4096, 3], copy, copy])
})

test('STATX: attributes with the time of birth', () => {
  const filesystem = new MemoryFilesystem()
  const when = { seconds: -2, nanos: 5 }
  const device = { nodeId: 9, sizeBytes: 1, blocks512: 8, atime: when, mtime: when, ctime: when, birthTime: when }
  // Device 0x123:0x45678 as the kernel packs it.
  const attr = { ...device, mode: 0o20644, linkCount: 1, uid: 7, gid: 8, rdev: 0x45612378, blockSizeBytes: 4096 }
  const { channel } = session(Object.assign(filesystem, { getattr: () => attr }))
  const time = 'feffffffffffffff 05000000 00000000'
  assert.deepEqual(
    channel.send(request(52, 2, 9, Buffer.alloc(24))),
    hex(`
      30010000 00000000 0200000000000000  # length 304
      2c01000000000000 00000000 00000000  # for 300 s
      ${'00'.repeat(16)}                  # spare
      ff0f0000 00100000 0000000000000000  # basic stats and time of birth, block size, attributes
      01000000 07000000 08000000 a421 0000 # 1 link, uid, gid, mode 020644
      0900000000000000 0100000000000000 0800000000000000 # ino, size, blocks
      0000000000000000 ${time} ${time} ${time} ${time}
      23010000 78560400 00000000 00000000 # rdev, dev
      ${'00'.repeat(112)}`),
  )
})

test('a filesystem may ask the kernel to write pages back', async () => {
  let pages: KernelPages | undefined
  const init: Filesystem['init'] = (_, given) => {
    pages = given
  }
  const { channel } = session(Object.assign(new MemoryFilesystem(), { init }), { resumed: true })
  await pages?.writeBack(5, 4096, 0)
  assert.deepEqual(channel.notifications, [
    hex('28000000 02000000 0000000000000000 0500000000000000 0010000000000000 0000000000000000'),
  ])
})

test('going on after a process that died begins with RESEND, and a request sent again says so', () => {
  const resent: (boolean | undefined)[] = []
  const filesystem = Object.assign(new MemoryFilesystem(), {
    fsync: (...args: Parameters<Filesystem['fsync']>) => void resent.push(args[3].resent),
  })
  const { channel } = session(filesystem, { resumed: true })
  assert.deepEqual(channel.replies, [hex('10000000 07000000 0000000000000000')])
  const fsync = request(20, 30, 1, Buffer.alloc(16))
  channel.send(fsync)
  fsync.writeUInt8(0x80, 15)
  assert.deepEqual(channel.send(fsync), hex('10000000 00000000 1e00000000000080'))
  assert.deepEqual(resent, [false, true])
})

test('replies of the process before are kept until the kernel asks for something new', () => {
  const asked: string[] = []
  const journal = {
    replyTo: () => void asked.push('a resent one'),
    forgetReplies: () => void asked.push('forgotten'),
    noteAnswered: () => undefined,
  } as unknown as RequestJournal
  const succession = { journal, leaving: new AbortController().signal, clock: systemClock }
  const { channel } = session(new MemoryFilesystem(), { resumed: true, succession })
  const statfs = (unique: number) => request(17, unique, 1)
  const resent = statfs(30)
  resent.writeUInt8(0x80, 15)
  channel.send(request(2, 31, 1, Buffer.alloc(8)))
  channel.send(resent)
  for (const unique of [32, 34]) channel.send(statfs(unique))
  assert.deepEqual(asked, ['a resent one', 'forgotten'])
})

test('why a request failed that was in order is told, once a second', () => {
  const [lines, clock] = [[] as unknown[], { ...systemClock, monotonicMs: () => nowMs }]
  let nowMs = 5000
  const log = { ...silentLog, warn: (event: string, fields?: object) => void lines.push({ event, ...fields }) }
  const statfs = () => {
    throw new FuseError('EIO', 'the store: no answer in time')
  }
  const { channel } = session(Object.assign(new MemoryFilesystem(), { statfs }), { log, clock })
  for (nowMs of [5000, 5001, 5999, 6000]) channel.send(request(17, nowMs, 1))
  const line = {
    event: 'fuse.failed',
    opcode: 'STATFS',
    nodeId: 1,
    code: 'EIO',
    reason: 'the store: no answer in time',
  }
  assert.deepEqual(lines, [
    { ...line, count: 1 },
    { ...line, count: 3 },
  ])
})
