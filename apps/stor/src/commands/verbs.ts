import { basename, join } from 'node:path'
import type { ParseArgsOptionsConfig } from 'node:util'

/** What was typed after a verb, checked against its options. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>

/** What only this verb takes, what it does, and the request that its flags make. */
export interface Verb {
  readonly options: ParseArgsOptionsConfig
  readonly usage: readonly string[]
  /** Paths become absolute by `here`: the daemon has another working directory.
   *  @throws WrongUsage */
  params(flags: Flags, here: (path: string) => string): Readonly<Record<string, unknown>>
}

export class WrongUsage extends Error {
  readonly exitCode = 2
}

const file = { type: 'string', short: 'f' } as const
const text = { type: 'string' } as const
const yes = { type: 'boolean' } as const

/** Instead of a file. */
export const STDOUT = '-'

/** The verbs of stor; `monitor` is apart, it becomes the daemon. */
export const verbs = {
  store: {
    options: {
      ...{ file, name: text, attach: text, progress: yes },
      'key-path': { type: 'string', short: 'k' },
      delete: { type: 'boolean', short: 'd' },
      'save-failure': { type: 'boolean', short: 's' },
      notblocking: { type: 'boolean', short: 'n' },
      'error-on-failure': { type: 'boolean', short: 'e' },
    },
    usage: [
      'store -f FILE [--name NAME] [--attach FILE] [--progress]   store a file; prints: stored <object id>',
      'store -f DIRECTORY [-e]   store the regular files in it; -e: stop at the first that fails',
      '  -k, --key-path DIR   name it as if it lay in DIR    -d, --delete   delete the file once its bytes are stored',
      '  -s, --save-failure   when it fails, the daemon keeps trying, also after a restart; see: stor jobs',
      '  -n, --notblocking    the daemon answers `queued <job>` once the job is on its disk; without a daemon it is done now',
    ],
    params(flags, here) {
      const path = needed(flags, 'file', 'store: which file? -f FILE')
      if (flags.name !== undefined && flags['key-path'] !== undefined) {
        throw new WrongUsage('store: --name and --key-path both say how it is named; give one')
      }
      const keyPath = string(flags, 'key-path')
      const absolute = here(path)
      return {
        file: absolute,
        name: keyPath === undefined ? resolved(flags, 'name', here) : join(here(keyPath), basename(absolute)),
        attach: resolved(flags, 'attach', here),
        delete: flags.delete,
        saveFailure: flags['save-failure'],
        notBlocking: flags.notblocking,
      }
    },
  },
  retrieve: {
    options: { file, name: text, object: text, 'attachment-to': text, range: text, progress: yes },
    usage: [
      'retrieve -f FILE [--name NAME | --object ID] [--attachment-to FILE] [--progress]',
      '  -f -   write it to the output; with --name or --object',
      '  --range OFFSET:LENGTH   only these bytes, cut at the end of the file; reads no more frames than hold them',
    ],
    params(flags, here) {
      const path = needed(flags, 'file', 'retrieve: which file? -f FILE')
      const range = rangeOf(string(flags, 'range'))
      if (range !== undefined && flags['attachment-to'] !== undefined) {
        throw new WrongUsage('retrieve: --range is of the file alone, without --attachment-to')
      }
      if (path === STDOUT && flags.name === undefined && flags.object === undefined) {
        throw new WrongUsage('retrieve: -f - writes which file to the output? --name NAME or --object ID')
      }
      return {
        file: path === STDOUT ? STDOUT : here(path),
        name: resolved(flags, 'name', here),
        objectId: flags.object,
        attachmentTo: resolved(flags, 'attachment-to', here),
        range,
      }
    },
  },
  check: {
    options: { file, object: text, deep: yes },
    usage: [
      "check (-f FILE | --object ID)   the stored file's BLAKE2b-128, by its record",
      '  --deep   read and verify every shard, and say what is there; exit code 1 if anything is wrong',
    ],
    params: (flags, here) => ({ ...objectOf('check', flags, here), deep: flags.deep }),
  },
  delete: {
    options: { file, object: text },
    usage: ['delete (-f FILE | --object ID)'],
    params: (flags, here) => objectOf('delete', flags, here),
  },
  rebuild: {
    options: { file, object: text, key: { type: 'string', short: 'k' }, all: yes },
    usage: [
      'rebuild (-f FILE | --object ID | -k KEY | --all)   read every shard and write again what is lost, bad or owed',
      "  -k, --key KEY   zstor's metadata key, /<prefix>/meta/<hash of the name>",
    ],
    params(flags, here) {
      const given = [flags.file, flags.object, flags.key, flags.all].filter(value => value !== undefined)
      if (given.length !== 1) throw new WrongUsage('rebuild: which? -f FILE, --object ID, -k KEY or --all; one of them')
      return { file: resolved(flags, 'file', here), objectId: flags.object, key: flags.key, all: flags.all }
    },
  },
  jobs: {
    options: { drop: text },
    usage: ['jobs [--drop JOB]   stores that nobody waits for, and why they failed; forget one'],
    params: flags => ({ drop: flags.drop }),
  },
  plan: {
    options: {},
    usage: [
      'plan   what the placement of the config survives, costs and has room for; with -c of that file, used or not',
    ],
    params: () => ({}),
  },
  reload: {
    options: {},
    usage: ['reload   the daemon reads its config again and works by it, or says why not; as SIGUSR1'],
    params: () => ({}),
  },
  status: {
    options: {},
    usage: ['status   backends, room, how many more may be lost, what waits'],
    params: () => ({}),
  },
  recover: {
    options: { progress: yes },
    usage: [
      'recover [--progress]   rebuild lost metadata from the data backends; stop the daemon if all of it is lost',
    ],
    params: () => ({}),
  },
  'rotate-key': {
    options: { deep: yes },
    usage: [
      'rotate-key   replace the master secret: the key file is exchanged; with a passphrase, by the one in <file>.next',
      '  --deep   replace the root key instead: all records are sealed anew, no shard is sent again',
    ],
    params: flags => ({ deep: flags.deep }),
  },
  test: {
    options: {},
    usage: ['test   try every backend, data and metadata, the master secret and the placement'],
    params: () => ({}),
  },
} satisfies Record<string, Verb>

export type VerbName = keyof typeof verbs

/** The one object that -f or --object names. */
function objectOf(verb: string, flags: Flags, here: (path: string) => string) {
  const [path, objectId] = [string(flags, 'file'), string(flags, 'object')]
  if (path === undefined && objectId === undefined) throw new WrongUsage(`${verb}: which file? -f FILE or --object ID`)
  if (path !== undefined && objectId !== undefined) throw new WrongUsage(`${verb}: -f or --object, not both`)
  return { file: path === undefined ? undefined : here(path), objectId }
}

function rangeOf(typed: string | undefined) {
  if (typed === undefined) return undefined
  const [, offset, length] = /^(\d{1,15}):(\d{1,15})$/.exec(typed) ?? []
  if (offset === undefined) throw new WrongUsage(`retrieve: --range ${typed} is not OFFSET:LENGTH, both in bytes`)
  return { offsetBytes: Number(offset), lengthBytes: Number(length) }
}

function string(flags: Flags, name: string): string | undefined {
  const value = flags[name]
  return typeof value === 'string' ? value : undefined
}

function resolved(flags: Flags, name: string, here: (path: string) => string): string | undefined {
  const path = string(flags, name)
  return path === undefined ? undefined : here(path)
}

function needed(flags: Flags, name: string, question: string): string {
  const value = string(flags, name)
  if (value === undefined || value === '') throw new WrongUsage(question)
  return value
}
