import type { ObjectRecord, ShardPlace } from '../metadata/object-record.ts'

/** What is known of the backends without asking any. */
export interface BackendView {
  /** The config has it. */
  isKnown(backend: string): boolean
  isDown(backend: string): boolean
  /** It has been down for so long that its shards move, where there is a place for them. */
  isGivenUp(backend: string): boolean
  /** It is to be emptied: its shards move away. */
  isDraining(backend: string): boolean
  /** It was seen to hold nothing: what records say of it is not so any more. */
  wasEmptied(backend: string): boolean
}

/** What an object lacks, by its record and the monitor. */
export interface Diagnosis {
  /** How many more locations it survives; negative: it cannot be read now. */
  readonly margin: number
  /** Shards that must be written: owed, or on a backend that is gone or is to be emptied. */
  readonly unplaced: readonly number[]
  /** Confirmed shards on a backend that was given up: they are to be written elsewhere, where there is a place. */
  readonly displaced: readonly number[]
  /** Shards that must be read to know. */
  readonly suspects: readonly number[]
  /** Pieces of replaced shards wait for removal on backends that answer. */
  readonly hasRemovals: boolean
}

export function diagnose(record: ObjectRecord, view: BackendView): Diagnosis {
  const { shards, owed, dataShards } = record
  const indexesOf = (applies: (shard: ShardPlace) => boolean) => shards.filter(applies).map(({ index }) => index)
  const isLost = ({ confirmed, backend }: ShardPlace) => !confirmed || !view.isKnown(backend)
  const isSuspect = (shard: ShardPlace) => !isLost(shard) && view.wasEmptied(shard.backend)
  const isAway = (shard: ShardPlace) => !isLost(shard) && view.isGivenUp(shard.backend)
  const isThere = (shard: ShardPlace) => !isLost(shard) && !isSuspect(shard) && !view.isDown(shard.backend)
  return {
    margin: shards.filter(isThere).length - dataShards,
    unplaced: indexesOf(shard => isLost(shard) || view.isDraining(shard.backend)),
    displaced: indexesOf(shard => isAway(shard) && !view.isDraining(shard.backend)),
    suspects: indexesOf(shard => isSuspect(shard) && !isAway(shard)),
    hasRemovals: owed.some(({ backend }) => view.isKnown(backend) && !view.isDown(backend)),
  }
}
