/** The walls of the house, read from the sources: who may import what, who may touch the outside, how big things may be. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseSource, readSources } from './architecture/source-file.ts'
import {
  cycles,
  type Declared,
  filesTooLong,
  foldersTooFull,
  importsAcrossRooms,
  importsOutside,
  importsUpInsideApps,
  reexportsAndDefaults,
  undeclared,
  unusedEntries,
  wordsOutside,
} from './architecture/walls.ts'

const root = join(import.meta.dirname, '..')
const sources = readSources(root)
const product = sources.filter(({ path }) => /^(packages|apps)\//.test(path))

/** The few files that touch the outside. A new one is a decision: it is made here, with its reason. */
const touches = {
  files: {
    modules: /^node:fs(\/promises)?$/,
    allowed: [
      'apps/cachedb/src/engine/hooks/hook-pipes.ts', // pipes for hooks, by way of FIFOs
      'apps/cachedb/src/segment/disk-storage.ts', // the data directory, as Storage
      'apps/fs/src/open-store.ts', // the admin password
      'apps/fs/src/fsck/view/record-snapshot.ts', // its scratch file
      'apps/stor/src/main.ts', // its pid file
      'apps/stor/src/jobs/job-journal.ts', // stores that nobody waits for
      'apps/stor/src/backend/directory-files.ts', // backends that are directories
      'apps/stor/src/backend/open-backend.ts', // admin passwords of backends
      'apps/stor/src/daemon/named-files.ts', // whether they, or certificates, are others by now
      'apps/stor/src/segment-file.ts', // the path it was told, the path it was asked for
      'packages/config/src/load.ts', // the config
      'packages/crypto/src/master-file.ts', // the secret
      'packages/daemon/src/lock-file.ts',
      'packages/daemon/src/unix-socket.ts', // removes a dead socket
      'packages/fuse/src/channel.ts', // /dev/fuse
      'packages/fuse/src/pool-reader.ts', // /dev/fuse
      'packages/fuse/src/mount.ts', // /dev/fuse, the mount table
      'packages/fuse/src/resume/request-journal.ts', // two inherited files
      'packages/fuse/src/resume/open-files.ts', // /proc
      'packages/qsfs/src/', // the command makes and looks at directories
      'packages/resp/src/tls/identity.ts', // the certificate and the key of a listener
      'packages/resp/src/unix-socket.ts', // removes a dead socket
    ],
  },
  network: {
    modules: /^node:(net|tls|http)$/,
    allowed: [
      'packages/daemon/src/metrics-server.ts', // Prometheus text
      'apps/cachedb/src/engine/hooks/hook-pipes.ts', // reads them
      'packages/daemon/src/control.ts',
      'packages/daemon/src/unix-socket.ts',
      'packages/fuse/src/pipe-handle.ts', // a libuv pipe handle for epoll
      'packages/resp/src/bulk-client.ts',
      'packages/resp/src/connect/client-connection.ts', // knows a TLS socket when it sees one
      'packages/resp/src/server.ts',
      'packages/resp/src/unix-socket.ts',
    ],
  },
  processes: {
    modules: /^node:child_process$/,
    allowed: [
      'apps/cachedb/src/engine/hooks/hook-pipes.ts', // mkfifo(1)
      'apps/cachedb/src/engine/hooks/hook-process.ts', // one run of a hook
      'apps/cachedb/src/engine/hooks/hook-runner-process.ts', // the small child that runs them
      'apps/fs/src/transport.ts',
      'packages/daemon/src/lock-file.ts', // flock(1)
      'packages/fuse/src/mount.ts', // mount(8), umount(8)
      'packages/qsfs/src/doctor.ts', // asks which programs there are
      'packages/qsfs/src/fsck.ts', // fs's fsck, over daemons of its own
      'packages/qsfs/src/supervisor/child-daemon.ts', // the daemons
      'packages/qsfs/src/sync.ts', // sync(1) of the mount
    ],
  },
} as const

/** Time, chance and the process itself: handed to everyone else. */
const ambient = {
  clock: {
    words: /\b(Date\.now|new Date\(\)|setTimeout|setInterval)\b/,
    allowed: [
      'packages/concurrency/src/clock.ts', // the one real clock
      'packages/daemon/src/hold.ts', // keeps a waiting process alive
      'packages/daemon/src/run.ts',
    ],
  },
  chance: { words: /\bMath\.random\b/, allowed: [] },
  process: {
    words: /\bprocess\.(?!hrtime)\w+/,
    allowed: [
      'apps/cachedb/src/engine/hooks/hook-runner.ts', // a program of its own
      'apps/cachedb/src/engine/hooks/hook-runner-process.ts', // starts it with the Node that runs us
      'apps/stor/src/in-process.ts', // the half of cli.ts that works without a daemon
      'packages/config/src/caller.ts', // where the caller stands
      'packages/daemon/src/', // signals, exit codes, umask
      'packages/fuse/src/mount.ts', // who mounts
      'packages/fuse/src/pipe-handle.ts', // the name of its probe socket
      'packages/qsfs/src/', // the command
      'packages/telemetry/src/log.ts', // the pid on each line
    ],
  },
} as const

const validators = [
  'packages/config/src/',
  'packages/protocol/src/stor-control.ts',
  'apps/cachedb/src/config.ts',
  'apps/fs/src/config.ts',
  'apps/stor/src/config.ts',
]

/** Folders with more files than twelve, and why they are still one thing. */
const fullFolders: Readonly<Record<string, number>> = {
  'packages/fuse/src': 18, // one protocol; its parts share the ABI tables
  'packages/resp/src': 14, // both ends of one protocol
  'apps/cachedb/src/commands': 16, // a file per family of commands
  'apps/fs/src/tree': 18, // records and the log that keeps them; to be split
  'apps/stor/src': 19, // wiring and commands
  'apps/stor/src/backend': 14, // interface, three kinds, decorators, and who watches them
  'apps/stor/src/repair': 17, // one queue; what feeds it, and what works it off
  'apps/stor/src/pipeline': 14, // store and retrieve share the frame pool
}

describe('walls between rooms', () => {
  test('apps never import apps; packages import lower levels only', () => none(importsAcrossRooms(sources)))
  test('inside an app arrows point down', () => none(importsUpInsideApps(product)))
  test('no cycles', () => none(cycles(product)))
  test('what is imported is declared', () => none(undeclared(product, declaredOf)))
})

describe('who touches the outside', () => {
  for (const [what, { modules, allowed }] of Object.entries(touches)) {
    test(`${what}: named files only`, () => none(importsOutside(product, modules, allowed, { typesAreFree: true })))
    test(`${what}: each named file needs it`, () => none(unusedEntries(product, allowed, modules)))
  }
  for (const [what, { words, allowed }] of Object.entries(ambient)) {
    const programs = product.filter(({ path }) => !/^apps\/[^/]+\/src\/(main|cli)\.ts$/.test(path))
    test(`${what}: handed to everyone but a few`, () => none(wordsOutside(programs, words, allowed)))
    test(`${what}: each of the few needs it`, () => none(unusedEntries(product, allowed, words)))
  }
  test('zod stands where strangers speak', () =>
    none(importsOutside(product, /^zod$/, validators, { typesAreFree: true })))
})

describe('shape', () => {
  test('no index.ts, no default exports', () => none(reexportsAndDefaults(sources)))
  test('files are short', () => none(filesTooLong(sources, { code: 400, test: 600 })))
  test('folders are small', () => none(foldersTooFull(product, 12, fullFolders)))
})

describe('the checker itself', () => {
  const bad = (path: string, text: string) => [parseSource(path, text)]

  test('sees the sources', () => {
    assert.ok(product.length > 100, `${product.length} files`)
    assert.ok(product.flatMap(({ imports }) => imports).length > 300)
  })
  test('finds imports however they are spelled', () => {
    const text = `import a from 'one'
import type { B } from "two"
import {
  c,
  d,
} from '../three.ts'
export { e } from './four.ts'
import 'five'
const six = await import('six')
// import x from 'comment'
const text = "import y from 'string'"`
    const { imports } = parseSource('packages/x/src/deep/file.ts', text)
    assert.deepEqual(
      imports.map(({ specifier, line, isTypeOnly, target }) => [specifier, line, isTypeOnly, target]),
      [
        ['one', 1, false, null],
        ['two', 2, true, null],
        ['../three.ts', 3, false, 'packages/x/src/three.ts'],
        ['./four.ts', 7, false, 'packages/x/src/deep/four.ts'],
        ['five', 8, false, null],
        ['six', 9, false, null],
      ],
    )
  })
  for (const [what, found] of [
    ['an app that imports an app', importsAcrossRooms(bad('apps/fs/src/a.ts', `import { b } from '@qsfs/stor/b'`))],
    ['the same by a path', importsAcrossRooms(bad('apps/fs/src/a.ts', `import { b } from '../../stor/src/b.ts'`))],
    [
      'a package that imports up',
      importsAcrossRooms(bad('packages/bytes/src/a.ts', `import { b } from '@qsfs/resp/b'`)),
    ],
    [
      'a product that imports the testkit',
      importsAcrossRooms(bad('packages/resp/src/a.ts', `import { b } from '@qsfs/testkit/b'`)),
    ],
    [
      'a segment that knows the engine',
      importsUpInsideApps([
        ...bad('apps/cachedb/src/segment/a.ts', `import { b } from '../engine/b.ts'`),
        ...bad('apps/cachedb/src/engine/b.ts', ''),
      ]),
    ],
    [
      'an engine that knows wiring',
      importsUpInsideApps([
        ...bad('apps/cachedb/src/engine/a.ts', `import { b } from '../session.ts'`),
        ...bad('apps/cachedb/src/session.ts', `import { c } from './commands/c.ts'`),
        ...bad('apps/cachedb/src/commands/c.ts', ''),
      ]),
    ],
    [
      'a package that is not declared',
      undeclared(bad('packages/bytes/src/a.ts', `import b from 'left-pad'`), () => ({ always: [], forTests: [] })),
    ],
    [
      'a stray node:fs',
      importsOutside(bad('apps/fs/src/ops/a.ts', `import { b } from 'node:fs'`), /^node:fs$/, ['apps/fs/src/main.ts']),
    ],
    ['a stray clock', wordsOutside(bad('apps/fs/src/ops/a.ts', `const now = Date.now()`), ambient.clock.words, [])],
    ['an exception that is none', unusedEntries(bad('apps/fs/src/a.ts', ''), ['apps/fs/src/a.ts'], /^node:fs$/)],
    ['a default export', reexportsAndDefaults(bad('apps/fs/src/a.ts', `export default 5`))],
    ['an index.ts', reexportsAndDefaults(bad('packages/resp/src/index.ts', ''))],
    ['a long file', filesTooLong(bad('apps/fs/src/a.ts', 'x\n'.repeat(401)), { code: 400, test: 600 })],
    ['a full folder', foldersTooFull([...bad('apps/fs/src/a.ts', ''), ...bad('apps/fs/src/b.ts', '')], 1, {})],
    [
      'a cycle',
      cycles([...bad('apps/fs/src/a.ts', `import './b.ts'`), ...bad('apps/fs/src/b.ts', `import { a } from './a.ts'`)]),
    ],
  ] as const) {
    test(`finds ${what}`, () => assert.equal(found.length, 1, JSON.stringify(found)))
  }
  test('leaves alone what is allowed', () => {
    none(importsAcrossRooms(bad('apps/fs/src/a.ts', `import { b } from '@qsfs/resp/b'`)))
    none(importsAcrossRooms(bad('packages/bytes/src/a.test.ts', `import { b } from '@qsfs/testkit/b'`)))
    none(importsUpInsideApps(bad('apps/fs/src/store/a.ts', `import { FsError } from '../errors.ts'`)))
    none(importsUpInsideApps(bad('apps/fs/src/ops/a.ts', `import { b } from '../tree/b.ts'`)))
    none(
      wordsOutside(
        bad('apps/fs/src/a.ts', `// Date.now() is for the clock\nconst text = 'Date.now()'`),
        ambient.clock.words,
        [],
      ),
    )
    none(
      cycles([
        ...bad('apps/fs/src/a.ts', `import type { B } from './b.ts'`),
        ...bad('apps/fs/src/b.ts', `import { a } from './a.ts'`),
      ]),
    )
  })
})

function declaredOf(room: string): Declared | null {
  const path = join(root, room, 'package.json')
  if (!existsSync(path)) return null
  const {
    name,
    dependencies = {},
    optionalDependencies = {},
    devDependencies = {},
  } = JSON.parse(readFileSync(path, 'utf8'))
  return {
    always: [name, ...Object.keys(dependencies), ...Object.keys(optionalDependencies)],
    forTests: Object.keys(devDependencies),
  }
}

/** One sentence per line in the failure, not a diff of arrays. */
function none(found: readonly string[]): void {
  assert.ok(found.length === 0, `\n${found.join('\n')}`)
}
