import assert from 'node:assert'
import type { Generation } from './object-record.ts'
import { compareGenerations, type Shown } from './quorum.ts'
import type { RecordShard } from './record-shard.ts'

/** Both slots of one record, as one member showed them: null is an empty slot, or a damaged one. `whole`: none was. */
export interface Answer {
  readonly slots: readonly [RecordShard | null, RecordShard | null]
  readonly whole: boolean
  readonly damagedSlots: readonly number[]
}
/** A member that was not asked, did not answer, or not in time. */
export const SILENT: Answer = { slots: [null, null], whole: false, damagedSlots: [] }

export function shownBy(answers: readonly Answer[]): Shown<Generation>[] {
  return answers.map(({ slots, whole }) => ({
    generations: slots.flatMap(shard => (shard === null ? [] : [shard.generation])),
    whole,
  }))
}

export function generationsOf(answers: readonly Answer[]): Generation[] {
  return shownBy(answers).flatMap(({ generations }) => generations)
}

/** The shards of one generation, in no order. */
export function shardsOf(answers: readonly Answer[], generation: Generation): RecordShard[] {
  return answers
    .flatMap(({ slots }) => slots)
    .filter(shard => shard !== null)
    .filter(shard => compareGenerations(shard.generation, generation) === 0)
}

/** Indexes of the members that show a generation. */
export function holdersOf(answers: readonly Answer[], generation: Generation): Set<number> {
  return new Set(answers.flatMap((answer, index) => (shardsOf([answer], generation).length > 0 ? [index] : [])))
}

/** Indexes of the members that answered, and missed or lost what others hold. */
export function lacking(answers: readonly Answer[], holders: ReadonlySet<number>): number[] {
  return answers.flatMap((answer, index) => (answer === SILENT || holders.has(index) ? [] : [index]))
}

/** Every holder has a generation in the same slot: it was chosen once, by its attempt. */
export function slotOf(answers: readonly Answer[], generation: Generation): number {
  const slot = [0, 1].find(at =>
    answers.some(({ slots }) => slots[at] && compareGenerations(slots[at].generation, generation) === 0),
  )
  assert(slot !== undefined)
  return slot
}
