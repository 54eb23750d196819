import { decodeSharedCounts, encodeSharedCounts, idsPerSharedRecord } from '../../block/sharing/shared-count-format.ts'
import type { BlockId } from '../../store/store.ts'
import type { FindingKind } from '../findings.ts'
import type { PendingBlocks } from '../view/collect.ts'
import type { Onlooker } from '../view/onlooker.ts'
import { parseRecordKey } from '../view/record-keys.ts'
import { BlockReading } from './block-reading.ts'
import type { CheckContext, CheckOptions } from './check.ts'
import { decoded } from './check-inodes.ts'

/** Ids of one run of leaked blocks that go in one transaction. */
const leakedPerRepairMax = 4096

/** While one of these stands, a block that looks leaked may belong to what cannot be read. */
const doubts: readonly FindingKind[] = ['record-unreadable', 'record-stray', 'inode-invalid', 'log-gap', 'block-doomed']

/** Counts of shared blocks against the files that were found to name them. */
export function checkSharedCounts(context: CheckContext): void {
  const { snapshot, claims, findings } = context
  for (const key of snapshot.keys()) {
    const parsed = parseRecordKey(key)
    if (parsed?.kind !== 'shared') continue
    for (const [id, counted] of decoded(context, key, bytes => decodeSharedCounts(parsed.index, bytes)) ?? []) {
      const found = claims.markCounted(id)
      if (found !== counted) report(id, `${counted} counted, ${found} found`, found)
    }
  }
  for (const { id, references, isUncounted } of claims.claimed()) {
    if (isUncounted) report(id, `it is not counted, ${references} found`, references)
  }

  function report(id: BlockId, detail: string, found: number): void {
    const index = Math.floor(id / idsPerSharedRecord)
    findings.add('shared-count', `block ${id}`, detail, {
      repair: tree =>
        tree.changeRecord(`s${index}`, bytes => {
          const counts = decodeSharedCounts(index, bytes)
          if (found === 0) counts.delete(id)
          else counts.set(id, found)
          return encodeSharedCounts(index, counts)
        }),
    })
  }
}

/** What the files name against what exists. Comes last: damage found before decides what may be called leaked. */
export async function checkBlocks(
  context: CheckContext,
  onlooker: Onlooker,
  pending: PendingBlocks,
  nextBlockId: BlockId,
  { deep }: CheckOptions,
): Promise<void> {
  const { claims, findings } = context
  const leaked = new LeakedRuns(context)
  const reading = deep ? new BlockReading(context, onlooker) : null
  for await (const blocks of onlooker.blocks()) {
    for (const { id, sizeBytes } of blocks) {
      const claim = claims.markExisting(id)
      if (claim === null) {
        if (id < nextBlockId && !pending.isDeletedByMount(id)) leaked.add(id, sizeBytes)
      } else if (claim.sizeBytes !== sizeBytes) {
        const detail = `it has ${sizeBytes} bytes, not ${claim.sizeBytes}`
        findings.add('block-length', `block ${id}`, detail, { nodeId: claim.owner })
      } else await reading?.add(id, claim)
    }
    await context.goOn()
  }
  await reading?.finish()
  for (const { id, owner, exists } of claims.claimed()) {
    if (!exists) {
      // A file that was changed since the moment that is checked.
      if (!context.wasFreedSince(id)) {
        findings.add('block-missing', `block ${id}`, `inode ${owner} names it`, { nodeId: owner })
      }
    } else if (pending.isDeletedByMount(id)) {
      findings.add('block-doomed', `block ${id}`, `inode ${owner} names it`, { nodeId: owner })
    }
  }
  leaked.report()
}

/** Leaked blocks as runs of ids: whatever leaks mostly leaks together. */
class LeakedRuns {
  readonly #context: CheckContext
  #run: { first: BlockId; last: BlockId; sizeBytes: number } | null = null
  readonly #runs: { first: BlockId; last: BlockId; sizeBytes: number }[] = []

  constructor(context: CheckContext) {
    this.#context = context
  }

  add(id: BlockId, sizeBytes: number): void {
    const run = this.#run
    if (run !== null && id === run.last + 1 && id - run.first < leakedPerRepairMax) {
      run.last = id
      run.sizeBytes += sizeBytes
      return
    }
    this.#run = { first: id, last: id, sizeBytes }
    this.#runs.push(this.#run)
  }

  report(): void {
    const { findings } = this.#context
    const isSure = !findings.has(...doubts)
    for (const { first, last, sizeBytes } of this.#runs) {
      const ids = Array.from({ length: last - first + 1 }, (_, index) => first + index)
      findings.add(
        'block-leaked',
        first === last ? `block ${first}` : `blocks ${first} to ${last}`,
        `${sizeBytes} bytes`,
        {
          repair: isSure ? tree => tree.freeBlocks(ids) : null,
        },
      )
    }
  }
}
