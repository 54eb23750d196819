import type { Prng } from '@qsfs/testkit/prng'
import { encodeId } from '../../src/engine/keydir/keydir-sequential.ts'
import { digest } from '../engine-fixture.ts'
import { type Answer, type Life, referenceValue } from './life.ts'
import type { Change, ReferenceNamespace, ReferenceValue, Settings } from './reference.ts'

/** What the world may do to commands at the moment. */
export interface Weather {
  /** FULL is an honest answer. */
  readonly mayBeFull: boolean
  /** IOERR is, of a value that lives. */
  readonly mayNotRead: boolean
  /** READONLY is. */
  readonly mayBeReadOnly: boolean
}

/** A command under way. */
export interface Sent {
  readonly answer: Answer
  readonly change: Change | null
  /** Whether the turn waits for it. */
  readonly isAwaited: boolean
  /** Called when it and all sent before it in its turn were answered. @throws CommandWrong */
  readonly verify: () => void
  readonly text: string
}

export class CommandWrong extends Error {}

const exhausted = 1_000

export interface CommandsOptions {
  readonly keysMax: number
  readonly syncsEach: boolean
  /** CHECK may meet a file that is damaged on this machine and whole in the store. */
  readonly rots: boolean
  readonly weather: () => Weather
}

/** Sends random commands to one namespace, and knows what each must be answered. */
export class Commands {
  readonly #life: Life
  readonly #prng: Prng
  readonly #keysMax: number
  readonly #weather: () => Weather
  readonly #syncsEach: boolean
  readonly #rots: boolean
  /** Reads that are not answered yet, to be verified when they are. */
  readonly late: (() => void)[] = []

  constructor(life: Life, prng: Prng, options: CommandsOptions) {
    this.#life = life
    this.#prng = prng
    this.#keysMax = options.keysMax
    this.#syncsEach = options.syncsEach
    this.#rots = options.rots
    this.#weather = options.weather
  }

  send(namespace: ReferenceNamespace, order: number): Sent {
    const dice = this.#prng.below(100)
    if (dice < 45) return this.#set(namespace, order)
    if (dice < 58) return this.#delete(namespace, order)
    if (dice < 74) return this.#get(namespace)
    if (dice < 78) return this.#multiGet(namespace)
    if (dice < 88) return this.#stat(namespace)
    if (dice < 94) return this.#sync(namespace, order)
    if (dice < 96) return this.#plain(namespace, 'NSJUMP')
    if (dice < 97) return this.#history(namespace)
    if (dice < 98) return this.#check(namespace)
    if (dice < 99) return this.#point(namespace, order)
    return this.#flush(namespace, order)
  }

  #set(namespace: ReferenceNamespace, order: number): Sent {
    const prng = this.#prng
    const isSequential = namespace.settings.mode === 'sequential'
    const key = isSequential && prng.chance(0.6) ? Buffer.alloc(0) : this.#anyKey(namespace)
    const bytes = prng.bytes(prng.below(prng.pick([1, 60, 600, prng.chance(0.05) ? 20_000 : 60])))
    // Now and then what is there already, as far as it is known when it is sent.
    const value = prng.chance(0.1) && key.length > 0 ? (this.#written.get(placeOf(namespace, key)) ?? bytes) : bytes
    const { digest: text, valueBytes, timestampSeconds } = referenceValue(value)
    const put = { digest: text, valueBytes, timestampSeconds }
    const hex = key.length === 0 ? null : key.toString('hex')
    const change = this.#begin(namespace, { order, kind: 'put', key: isSequential ? hex : hex, value: put })
    const args = ['SET', key, value, String(timestampSeconds)]
    if (key.length > 0) this.#written.set(placeOf(namespace, key), value)
    return this.#change(namespace, change, args, {
      expected: () => this.#refusalOfSet(namespace, key, put),
      isAnswer: reply => {
        const known = hex === null ? undefined : namespace.contents.get(hex)
        if (reply === null) {
          change.outcome = 'refused'
          return known?.digest === put.digest
        }
        const wanted = hex === null ? encodeId(namespace.nextId) : key
        return Buffer.isBuffer(reply) && reply.equals(wanted)
      },
    })
  }

  /** Values sent lately, to send one again. */
  readonly #written = new Map<string, Buffer>()

  #refusalOfSet(
    { settings, contents, dataBytes }: ReferenceNamespace,
    key: Buffer,
    put: ReferenceValue,
  ): string | null {
    const known = contents.get(key.toString('hex'))
    if (settings.worm && known !== undefined) return 'Namespace is protected by worm mode'
    if (settings.maxBytes > 0 && dataBytes + put.valueBytes > settings.maxBytes + (known?.valueBytes ?? 0))
      return 'No space left on this namespace'
    const isNew = settings.mode === 'user' || key.length === 0
    return isNew || known !== undefined ? null : 'Invalid key, only update authorized'
  }

  #delete(namespace: ReferenceNamespace, order: number): Sent {
    const key = this.#anyKey(namespace)
    const hex = key.toString('hex')
    const change = this.#begin(namespace, { order, kind: 'delete', key: hex, value: null })
    return this.#change(namespace, change, ['DEL', key], {
      expected: () => {
        if (!namespace.contents.has(hex)) return 'Key not found'
        return namespace.settings.worm ? 'Cannot delete a key when namespace is in worm mode' : null
      },
      isAnswer: reply => reply === 'OK',
    })
  }

  #flush(namespace: ReferenceNamespace, order: number): Sent {
    const change = this.#begin(namespace, { order, kind: 'clear', key: null, value: null })
    const sent = this.#change(namespace, change, ['FLUSH'], {
      expected: () => {
        const { public: isPublic, password, worm } = namespace.settings
        if (isPublic || password === '') return 'Flushing public namespace denied'
        return worm ? 'Cannot delete a key when namespace is in worm mode' : null
      },
      isAnswer: reply => reply === 'OK',
    })
    sent.answer.whenSettled(() => {
      if (sent.answer.state === 'reply') namespace.synced(order + 1)
    })
    return sent
  }

  #begin(namespace: ReferenceNamespace, change: Omit<Change, 'outcome' | 'answeredAtCrash'>): Change {
    const begun: Change = { ...change, outcome: 'open', answeredAtCrash: false }
    namespace.begin(begun)
    return begun
  }

  #change(
    namespace: ReferenceNamespace,
    change: Change,
    args: readonly (string | Buffer)[],
    rules: { readonly expected: () => string | null; readonly isAnswer: (reply: unknown) => boolean },
  ): Sent {
    const answer = this.#life.send(namespace.name, ...args)
    const isAtOnce = answer.state !== 'open'
    const { isReadOnly } = namespace
    if (isAtOnce && answer.error?.message.startsWith('READONLY') === true) namespace.isReadOnly = true
    answer.whenSettled(() => {
      if (change.outcome !== 'open') return
      if (answer.state === 'reply') change.outcome = answer.reply === null ? 'refused' : 'done'
      // It was appended, or dropped, and then its sync failed.
      else change.outcome = isAtOnce || isReadOnly || !/^READONLY/.test(answer.error!.message) ? 'refused' : 'unknown'
      if (answer.state === 'reply' && this.#syncsEach) namespace.synced(change.order + 1)
    })
    const verify = () => {
      if (!namespace.isClouded) {
        const refusal = rules.expected()
        // It was under way when NSDEL came.
        const isDropped = namespace.existence !== 'yes' && answer.error?.message === 'READONLY the namespace is closed'
        if (answer.error !== null) {
          if (!isDropped) this.#requireHonest(answer, refusal)
        } else if (refusal !== null || !rules.isAnswer(answer.reply)) wrong(answer, refusal ?? 'another reply')
      }
      namespace.settle(change)
    }
    return { answer, change, isAwaited: true, verify, text: textOf(namespace, args) }
  }

  #get(namespace: ReferenceNamespace): Sent {
    const key = this.#anyKey(namespace)
    return this.#read(namespace, ['GET', key], [key], reply => [reply])
  }

  #multiGet(namespace: ReferenceNamespace): Sent {
    const keys = Array.from({ length: 1 + this.#prng.below(5) }, () => this.#anyKey(namespace))
    return this.#read(namespace, ['MGET', ...keys], keys, reply => reply as unknown[])
  }

  /** Its values are those of some moment between its command and its answer. */
  #read(
    namespace: ReferenceNamespace,
    args: readonly (string | Buffer)[],
    keys: readonly Buffer[],
    valuesOf: (reply: unknown) => readonly unknown[],
  ): Sent {
    const answer = this.#life.send(namespace.name, ...args)
    const isAtOnce = answer.state !== 'open'
    const verify = () => {
      if (namespace.isClouded) return
      const allowed = keys.map(key => new Set([namespace.contents.get(key.toString('hex'))?.digest ?? null]))
      const check = () => {
        if (namespace.isClouded) return
        const isDisturbed = allowed.some(digests => digests.has('flushed')) || namespace.existence !== 'yes'
        if (answer.error !== null) return this.#requireReadable(answer, answer.error, isDisturbed)
        for (const [index, value] of valuesOf(answer.reply).entries()) {
          if (value instanceof Error) this.#requireReadable(answer, value, isDisturbed)
          else if (!allowed[index]!.has(value === null ? null : digest(value as Buffer)))
            wrong(answer, `${[...allowed[index]!]} for ${keys[index]!.toString('hex')}`)
        }
      }
      if (isAtOnce) return check()
      const stop = namespace.onChange((change, changed) => {
        for (const [index, key] of keys.entries()) {
          if (change.kind === 'clear') allowed[index]!.add(null).add('flushed')
          else if (key.toString('hex') === changed) allowed[index]!.add(change.value?.digest ?? null)
        }
      })
      answer.whenSettled(() =>
        this.late.push(() => {
          stop()
          check()
        }),
      )
    }
    return { answer, change: null, isAwaited: false, verify, text: textOf(namespace, args) }
  }

  /** EXISTS, LENGTH, KEYTIME, DBSIZE: from memory, at once. */
  #stat(namespace: ReferenceNamespace): Sent {
    const key = this.#anyKey(namespace)
    const known = () => namespace.contents.get(key.toString('hex'))
    const [name, expected] = this.#prng.pick([
      ['EXISTS', () => (known() === undefined ? 0 : 1)],
      ['LENGTH', () => known()?.valueBytes ?? null],
      ['KEYTIME', () => known()?.timestampSeconds ?? null],
      ['DBSIZE', () => namespace.contents.size],
    ] as const)
    const args = name === 'DBSIZE' ? [name] : [name, key]
    const answer = this.#life.send(namespace.name, ...args)
    const verify = () => {
      if (namespace.isClouded) return
      if (answer.error !== null) this.#requireHonest(answer, null)
      else if (answer.reply !== expected()) wrong(answer, String(expected()))
    }
    return { answer, change: null, isAwaited: true, verify, text: textOf(namespace, args) }
  }

  #history(namespace: ReferenceNamespace): Sent {
    const key = this.#anyKey(namespace)
    const known = namespace.contents.get(key.toString('hex'))
    const answer = this.#life.send(namespace.name, 'HISTORY', key)
    const verify = () => {
      // What a turn changed behind it, and what is not there any more, may be shown or not.
      if (known === undefined || namespace.isClouded || namespace.contents.get(key.toString('hex')) !== known) return
      if (answer.error !== null) return this.#requireReadable(answer, answer.error, false)
      const [, timestamp, value] = answer.reply as [unknown, Buffer, Buffer]
      if (Number(timestamp) !== known.timestampSeconds || digest(value) !== known.digest) wrong(answer, known.digest)
    }
    const later = () => void this.late.push(verify)
    return { answer, change: null, isAwaited: true, verify: later, text: textOf(namespace, ['HISTORY', key]) }
  }

  #sync(namespace: ReferenceNamespace, order: number): Sent {
    const answer = this.#life.send(namespace.name, 'FSYNC')
    answer.whenSettled(() => {
      if (answer.state === 'reply') namespace.synced(order)
    })
    const verify = () => {
      answer.whenSettled(() => {
        if (answer.error !== null && !namespace.isClouded)
          this.late.push(() => {
            // Dropped meanwhile: there is nothing to sync.
            if (namespace.existence === 'yes') this.#requireHonest(answer, null)
          })
      })
    }
    return { answer, change: null, isAwaited: this.#prng.chance(0.3), verify, text: textOf(namespace, ['FSYNC']) }
  }

  /** CHECK never says that a value is damaged which lives, unless its file is. */
  #check(namespace: ReferenceNamespace): Sent {
    const key = this.#anyKey(namespace)
    const answer = this.#life.send(namespace.name, 'CHECK', key)
    const verify = () => {
      if (namespace.isClouded) return
      const wanted = new Set<unknown>([namespace.contents.has(key.toString('hex')) ? 1 : null])
      if (this.#weather().mayNotRead) wanted.add(-1).add(0)
      if (this.#rots) wanted.add(0)
      const stop = namespace.onChange((change, changed) => {
        if (change.kind === 'clear') wanted.add(null).add(-1)
        else if (key.toString('hex') === changed) wanted.add(change.value === null ? null : 1)
      })
      answer.whenSettled(() =>
        this.late.push(() => {
          stop()
          if (namespace.isClouded || namespace.existence !== 'yes') return
          if (answer.error !== null) return this.#requireHonest(answer, null)
          if (!wanted.has(answer.reply)) wrong(answer, [...wanted].join(' or '))
        }),
      )
    }
    return { answer, change: null, isAwaited: false, verify, text: textOf(namespace, ['CHECK', key]) }
  }

  /** A recovery point holds what was executed before it, on disk. */
  #point(namespace: ReferenceNamespace, order: number): Sent {
    const answer = this.#life.send(null, 'POINT', namespace.name)
    answer.whenSettled(() => {
      if (answer.state === 'reply') namespace.synced(order)
    })
    const verify = () => undefined
    return { answer, change: null, isAwaited: false, verify, text: textOf(namespace, ['POINT']) }
  }

  /** RELOAD changes nothing. No other command goes to the namespace in the same turn. */
  reload(namespace: ReferenceNamespace): Sent {
    const answer = this.#life.send(null, 'RELOAD', namespace.name)
    const verify = () => {
      if (answer.error !== null && !namespace.isClouded && !this.#weather().mayNotRead)
        this.#requireHonest(answer, null)
    }
    return { answer, change: null, isAwaited: true, verify, text: textOf(namespace, ['RELOAD']) }
  }

  #plain(namespace: ReferenceNamespace, name: string): Sent {
    const answer = this.#life.send(namespace.name, name)
    const verify = () => {
      if (namespace.isClouded) return
      if (answer.error !== null) this.#requireHonest(answer, null)
      else if (answer.reply !== 'OK') wrong(answer, 'OK')
    }
    return { answer, change: null, isAwaited: true, verify, text: textOf(namespace, [name]) }
  }

  /** NSSET of one property. No other command goes to the namespace in the same turn. */
  set(namespace: ReferenceNamespace): Sent {
    const prng = this.#prng
    const before = namespace.settings
    const isDefault = namespace.name === 'default'
    const [property, value, after] = prng.pick<readonly [string, string, Settings]>([
      ['maxsize', '0', { ...before, maxBytes: 0 }],
      ['maxsize', '3000', { ...before, maxBytes: 3_000 }],
      ['worm', '1', { ...before, worm: true }],
      ['worm', '0', { ...before, worm: false }],
      ['worm', '0', { ...before, worm: false }],
      ['password', 'secret', { ...before, password: 'secret' }],
      ['password', 'secret', { ...before, password: 'secret' }],
      ['public', '0', { ...before, public: false }],
      ['public', '0', { ...before, public: false }],
      ['mode', 'seq', { ...before, mode: 'sequential' }],
      ['mode', 'seq', { ...before, mode: 'sequential' }],
    ])
    namespace.settingsMaybe = [...namespace.settingsMaybe, after]
    const answer = this.#life.send(null, 'NSSET', namespace.name, property, value)
    const verify = () => {
      const refusal =
        property === 'mode' && namespace.nextId > 0
          ? 'Cannot change mode of used namespace'
          : property !== 'mode' && isDefault
            ? 'Cannot update default namespace'
            : null
      if (answer.error !== null) {
        const isUnknown = /^IOERR /.test(answer.error.message) && this.#weather().mayBeReadOnly
        if (isUnknown) {
          namespace.isClouded = true
          namespace.areSettingsUnknown = true
        } else if (!namespace.isClouded) {
          // A value sent just before may be refused after this was.
          const isLate = property === 'mode' && this.#weather().mayBeFull
          this.#requireHonest(answer, isLate ? 'Cannot change mode of used namespace' : refusal)
          namespace.settingsMaybe.pop()
        }
        return
      }
      if (refusal !== null && !namespace.isClouded) wrong(answer, refusal)
      namespace.settings = after
      namespace.settingsMaybe = []
    }
    const text = textOf(namespace, ['NSSET', property, value])
    return { answer, change: null, isAwaited: true, verify, text }
  }

  /** A cursor's walk, forward or backward, one page per call.
   *  @returns the next page's command; null when the walk is over */
  walk(namespace: ReferenceNamespace): () => Sent | null {
    const name = this.#prng.pick(['SCAN', 'SCAN', 'RSCAN'])
    const unseen = new Map(namespace.contents)
    /** What each key was since the walk began. */
    const seen = new Map([...namespace.contents].map(([key, value]) => [key, [value]]))
    const stop = namespace.onChange((change, key) => {
      if (change.kind === 'clear') unseen.clear()
      else unseen.delete(key!)
      if (change.kind === 'put') seen.set(key!, [...(seen.get(key!) ?? []), change.value!])
    })
    let cursor: Buffer | null = null
    let isOver = false
    let pages = 0
    return () => {
      if (isOver || namespace.isClouded || namespace.existence !== 'yes') return null
      const answer = this.#life.send(namespace.name, name, ...(cursor === null ? [] : [cursor]))
      const verify = () => {
        if (namespace.isClouded) return
        if (answer.error !== null) {
          isOver = true
          stop()
          // What a failed sync left is written again elsewhere, and its cursors lead nowhere; as in 0-db an updated id's does.
          const mayLeadNowhere = this.#weather().mayBeReadOnly || namespace.settings.mode === 'sequential'
          if (answer.error.message === 'Invalid key format' && mayLeadNowhere) return
          if (answer.error.message !== 'No more data') return this.#requireReadable(answer, answer.error, false)
          if (unseen.size > 0) wrong(answer, `a page with ${[...unseen.keys()]}`)
          return
        }
        const [next, entries] = answer.reply as [Buffer, [Buffer, number, number][]]
        cursor = next
        for (const [key, valueBytes, timestampSeconds] of entries) {
          const hex = key.toString('hex')
          const fits = seen.get(hex)?.some(v => v.valueBytes === valueBytes && v.timestampSeconds === timestampSeconds)
          if (fits !== true) wrong(answer, `no ${hex} of ${valueBytes} bytes`)
          unseen.delete(hex)
        }
        if (++pages > exhausted) wrong(answer, 'an end')
      }
      // It looks at several moments: also at those behind commands sent after it.
      const later = () => void this.late.push(verify)
      return { answer, change: null, isAwaited: true, verify: later, text: textOf(namespace, [name]) }
    }
  }

  #anyKey(namespace: ReferenceNamespace): Buffer {
    const prng = this.#prng
    if (namespace.settings.mode === 'user') return Buffer.from(`k${prng.below(this.#keysMax)}`)
    const known = [...namespace.contents.keys()]
    if (known.length > 0 && prng.chance(0.9)) return Buffer.from(prng.pick(known), 'hex')
    return encodeId(prng.below(namespace.nextId + 3))
  }

  /** An error must be the one foretold, or one that the weather explains. */
  #requireHonest(answer: Answer, refusal: string | null): void {
    const { message } = answer.error!
    const weather = this.#weather()
    if (message === refusal) return
    if (weather.mayBeFull && /^FULL /.test(message)) return
    if (weather.mayBeReadOnly && /^READONLY /.test(message)) return
    // After a RELOAD that met a full disk, until it has room.
    if (weather.mayNotRead && /^IOERR the namespace cannot be opened/.test(message)) return
    wrong(answer, refusal ?? 'a reply')
  }

  #requireReadable(answer: Answer, error: Error, isDisturbed: boolean): void {
    if (/^IOERR /.test(error.message) && (isDisturbed || this.#weather().mayNotRead)) return
    wrong(answer, 'a value')
  }
}

function wrong(answer: Answer, expected: string): never {
  const said = answer.error === null ? show(answer.reply) : `-${answer.error.message}`
  throw new CommandWrong(`${answer.name} was answered ${said}, not ${expected}`, { cause: answer.error })
}

function show(reply: unknown): string {
  if (Buffer.isBuffer(reply)) return reply.length > 20 ? `"${digest(reply)}"` : `"${reply.toString('hex')}"`
  return Array.isArray(reply) ? `[${reply.map(show).join(' ')}]` : String(reply)
}

function textOf({ name }: ReferenceNamespace, args: readonly (string | Buffer)[]): string {
  return `${name}: ${args.map(argument => (typeof argument === 'string' ? argument : show(argument))).join(' ')}`
}

function placeOf({ name }: ReferenceNamespace, key: Buffer): string {
  return `${name}/${key.toString('hex')}`
}
