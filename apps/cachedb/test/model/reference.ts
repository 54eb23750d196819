import { encodeId } from '../../src/engine/keydir/keydir-sequential.ts'

/** What a namespace must be like, in plain Maps: which values live, and which changes a crash may take back. */

/** A value as it is compared. Its time follows from its bytes, so that writing it again changes nothing, whether or not the server
 *  notices that it is the same. */
export interface ReferenceValue {
  readonly digest: string
  readonly valueBytes: number
  readonly timestampSeconds: number
}

/** Key in hex → what it holds. */
export type Contents = Map<string, ReferenceValue>

/** One change, from its command on. */
export interface Change {
  /** Place among all commands of the run. */
  readonly order: number
  readonly kind: 'put' | 'delete' | 'clear'
  /** null: of a put, the next sequential id. */
  readonly key: string | null
  readonly value: ReferenceValue | null
  /** `open`: not answered yet; `unknown`: answered by an error that leaves open whether it happened. */
  outcome: 'open' | 'done' | 'refused' | 'unknown'
  /** Whether it was answered when the crash came. */
  answeredAtCrash: boolean
}

export interface Settings {
  readonly mode: 'user' | 'sequential'
  readonly maxBytes: number
  readonly worm: boolean
  readonly password: string
  readonly public: boolean
}

export const firstSettings: Settings = { mode: 'user', maxBytes: 0, worm: false, password: '', public: true }

/** `hurt`: it was killed or it ended after a sync had failed, and what was not synced may be gone from the page cache, or go later. */
export type Aftermath = 'power cut' | 'kill' | 'close' | 'hurt'

interface State {
  readonly contents: Contents
  readonly nextId: number
}

/** A state that may be found after a crash, and the changes since the base that led to it. */
interface Candidate extends State {
  readonly path: readonly Change[]
}

/** One namespace of the reference. */
export class ReferenceNamespace {
  readonly name: string
  settings = firstSettings
  /** Settings that a crash may find instead: a change of them was not answered, or badly. */
  settingsMaybe: Settings[] = []
  /** A change of them failed in its sync: later ones were made to what nobody knows. */
  areSettingsUnknown = false
  /** no: NSDEL was answered; maybe: its making or its dropping was not, or badly. */
  #existence: 'yes' | 'maybe' | 'no' = 'maybe'
  /** After an answer that leaves a change open, replies can no longer be foretold. */
  isClouded = false
  /** A write was refused for it: so are all to the end of this life, and nothing of them will be found. */
  isReadOnly = false
  #now: State = { contents: new Map(), nextId: 0 }
  /** The state all later ones build on: it survives any crash. */
  #base: State = { contents: new Map(), nextId: 0 }
  /** Changes since then, in order. */
  #changes: Change[] = []
  /** Changes before this one are on disk. */
  #syncedOrder = 0
  #syncedOrderAtCrash = 0
  /** What is answered from then on says nothing about what will be found. */
  #isCrashed = false
  readonly #listeners = new Set<(change: Change, key: string | null) => void>()

  constructor(name: string) {
    this.name = name
  }

  get existence(): 'yes' | 'maybe' | 'no' {
    return this.#existence
  }

  /** By what was answered. */
  exists(existence: 'yes' | 'maybe' | 'no'): void {
    if (!this.#isCrashed) this.#existence = existence
  }

  get contents(): Contents {
    return this.#now.contents
  }

  get nextId(): number {
    return this.#now.nextId
  }

  get dataBytes(): number {
    let sum = 0
    for (const { valueBytes } of this.contents.values()) sum += valueBytes
    return sum
  }

  /** A command that may change something was sent. */
  begin(change: Change): void {
    this.#changes.push(change)
  }

  /** Its answer is known, and so are those of all before it. */
  settle(change: Change): void {
    if (change.outcome === 'unknown') this.isClouded = true
    if (change.outcome !== 'done') return
    const key = keyOf(change, this.#now)
    this.#now = after(this.#now, change)
    for (const listener of this.#listeners) listener(change, key)
  }

  /** Everything before this command is on disk. */
  synced(order: number): void {
    if (this.#isCrashed) return
    this.#syncedOrder = Math.max(this.#syncedOrder, order)
    // Bounds what a crash has to look at.
    for (
      let first = this.#changes[0];
      first !== undefined && first.order < this.#syncedOrder;
      first = this.#changes[0]
    ) {
      if (first.outcome === 'open' || first.outcome === 'unknown') return
      this.#changes.shift()
      if (first.outcome === 'done') this.#base = after(this.#base, first)
    }
  }

  /** Told of each change and its key from now on; the result ends it. */
  onChange(listener: (change: Change, key: string | null) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The crash strikes now. */
  crash(): void {
    this.#isCrashed = true
    this.#syncedOrderAtCrash = this.#syncedOrder
    for (const change of this.#changes) change.answeredAtCrash = change.outcome !== 'open'
  }

  /** It was not found after the crash, which may be said of the page cache alone: the next one may bring it back. */
  missed(): void {
    this.#isCrashed = false
  }

  /** Takes what was found after the crash, if it is a prefix of what happened before it.
   *  @param order of the last command sent before the crash
   *  @returns what is wrong, or null */
  accept(found: Contents, order: number, aftermath: Aftermath): string | null {
    const candidates = this.#candidates(order, aftermath)
    const text = serialize(found)
    const fitting = candidates.filter(({ contents }) => serialize(contents) === text)
    const chosen = fitting.at(-1)
    if (chosen === undefined) return `${this.name}: found ${difference(found, candidates)}`
    this.#now = {
      contents: new Map(found),
      nextId: fitting.reduce((least, { nextId }) => Math.min(least, nextId), chosen.nextId),
    }
    // What a power cut left is on disk; what a kill left need not be.
    if (aftermath === 'power cut') {
      this.#base = this.#now
      this.#changes = []
    } else this.#changes = chosen.path.map(change => ({ ...change, outcome: 'done' }))
    this.isClouded = false
    this.isReadOnly = false
    this.#isCrashed = false
    this.#listeners.clear()
    this.#syncedOrder = this.#syncedOrderAtCrash
    return null
  }

  /** The server has started on what was found: it is on disk. Ids may have been skipped, never taken back.
   *  @returns what is wrong, or null */
  started(nextId: number): string | null {
    if (this.settings.mode === 'sequential' && nextId < this.nextId)
      return `${this.name}: ids from ${nextId} on are given again, ${this.nextId} was the next`
    this.#now = { contents: this.contents, nextId }
    this.#base = this.#now
    this.#changes = []
    return null
  }

  /** Every state that may be found: an answered change with all before it; unanswered ones in their order, or not. */
  #candidates(order: number, aftermath: Aftermath): readonly Candidate[] {
    let alive: Candidate[] = [{ ...this.#base, path: [] }]
    let candidates = alive
    for (const change of this.#changes) {
      if (change.order > order) break
      const { outcome, answeredAtCrash } = change
      if (outcome === 'refused' && answeredAtCrash) continue
      const next = alive.map(state => ({ ...after(state, change), path: [...state.path, change] }))
      const isCertain = outcome === 'done' && answeredAtCrash
      const isKept = aftermath === 'kill' || aftermath === 'close'
      const mustBeThere = isCertain && (isKept || change.order < this.#syncedOrderAtCrash)
      candidates = mustBeThere ? next : [...candidates, ...next]
      alive = isCertain ? next : [...alive, ...next]
    }
    return candidates
  }
}

function after({ contents, nextId }: State, change: Change): State {
  if (change.kind === 'clear') return { contents: new Map(), nextId: 0 }
  const changed = new Map(contents)
  const key = keyOf(change, { contents, nextId })!
  if (change.kind === 'delete') changed.delete(key)
  else changed.set(key, change.value!)
  return { contents: changed, nextId: change.kind === 'put' ? nextId + 1 : nextId }
}

function keyOf({ kind, key }: Change, { nextId }: State): string | null {
  return kind === 'put' && key === null ? encodeId(nextId).toString('hex') : key
}

function serialize(contents: Contents): string {
  return JSON.stringify([...contents].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Against the candidate that is nearest. */
function difference(found: Contents, candidates: readonly Candidate[]): string {
  const differences = candidates.map(({ contents, path }) => {
    const missing = [...contents.keys()].filter(key => !found.has(key))
    const extra = [...found.keys()].filter(key => !contents.has(key))
    const other = [...found.keys()].filter(
      key => contents.has(key) && contents.get(key)!.digest !== found.get(key)!.digest,
    )
    return { changes: path.length, missing, extra, other }
  })
  const count = ({ missing, extra, other }: (typeof differences)[0]) => missing.length + extra.length + other.length
  const nearest = differences.reduce((best, next) => (count(next) < count(best) ? next : best))
  return `no prefix of what happened; the nearest of ${candidates.length}: ${JSON.stringify(nearest)}`
}
