import assert from 'node:assert'
import { test } from 'node:test'
import { FuseError } from '@qsfs/fuse/errno'
import { prngFromSeed, seededPrng } from '@qsfs/testkit/prng'
import type { Store } from '../src/store/store.ts'
import { decodeCheckpoint, encodeCheckpoint } from '../src/tree/checkpoint-format.ts'
import { decodeTransaction, encodeTransaction } from '../src/tree/transaction-format.ts'
import { LogModel } from './log-model.ts'
import { PowerCut, SimulatedDisk, SimulatedStore } from './simulated-disk.ts'

const stepsPerHistory = 120

test('400 random histories of commits, crashes and power cuts lose nothing', async t => {
  const seeds = seededPrng(t)
  for (let i = 0; i < 400; i++) {
    const seed = seeds.below(2 ** 32)
    const finding = await runHistory(seed, disk => new SimulatedStore(disk))
    assert.equal(finding, null, `history with seed ${seed}: ${finding}`)
  }
})

for (const [name, break_] of Object.entries(rulesBroken())) {
  test(`the histories notice: ${name}`, async t => {
    const seeds = seededPrng(t)
    for (let i = 0; i < 2000; i++) {
      const finding = await runHistory(seeds.below(2 ** 32), break_).catch(refusal)
      if (finding !== null) return t.diagnostic(`history ${i}: ${finding}`)
    }
    assert.fail('2,000 histories passed without the rule')
  })
}

/** A mount that refuses what it finds has noticed too. */
function refusal(error: unknown): string {
  if (error instanceof FuseError) return error.message
  throw error
}

async function runHistory(seed: number, openStore: (disk: SimulatedDisk) => Store): Promise<string | null> {
  const prng = prngFromSeed(seed)
  const disk = new SimulatedDisk()
  const crashLater = () => {
    if (prng.chance(0.5)) disk.stepsLeft = prng.below(60)
  }
  const model = new LogModel(
    {
      open: async () => {
        crashLater()
        return openStore(disk)
      },
      crash: () => disk.crash(prng),
      isCrash: error => error instanceof PowerCut,
      liveBlocks: () => disk.liveBlocks().keys(),
    },
    prng,
  )
  return model.run(stepsPerHistory)
}

/** Each store breaks one rule of the log from below, so that the code of the log needs no switch for it. */
function rulesBroken(): Record<string, (disk: SimulatedDisk) => Store> {
  return {
    'a mount that builds on what was never synced': disk =>
      new (class extends SimulatedStore {
        #syncs = 0
        override async sync() {
          if (++this.#syncs <= 2) this.synced = this.answered
          else await super.sync()
        }
      })(disk),
    'deletes and checkpoints before the sync of their transaction': disk =>
      new (class extends SimulatedStore {
        override async setRecord(key: string, value: Buffer) {
          await super.setRecord(key, value)
          this.synced = this.answered
        }
      })(disk),
    'no session': disk =>
      new (class extends SimulatedStore {
        override async setRecord(key: string, value: Buffer) {
          await super.setRecord(key, withoutSession(value))
        }
      })(disk),
    'a session that is not synced before the first new id': disk =>
      new (class extends SimulatedStore {
        #syncs = 0
        override async sync() {
          this.#syncs++
          if (this.#syncs === 3) this.synced = this.answered
          else await super.sync()
        }
      })(disk),
    'transactions that do not say which blocks they add': disk =>
      new (class extends SimulatedStore {
        override async setRecord(key: string, value: Buffer) {
          const transaction = decodeTransaction(value)
          await super.setRecord(key, transaction === null ? value : encodeTransaction({ ...transaction, adds: [] }))
        }
      })(disk),
    'frees that a mount does not send again': disk =>
      new (class extends SimulatedStore {
        override async getRecord(key: string) {
          const value = await super.getRecord(key)
          const transaction = value === null ? null : decodeTransaction(value)
          return transaction === null ? value : encodeTransaction({ ...transaction, frees: [] })
        }
      })(disk),
    'a checkpoint record before the homes': disk =>
      new (class extends SimulatedStore {
        #homes: [string, Buffer][] = []
        override async setRecord(key: string, value: Buffer) {
          if (key.startsWith('i')) this.#homes.push([key, value])
          else await super.setRecord(key, value)
          if (key === 'c') for (const [home, bytes] of this.#homes.splice(0)) await super.setRecord(home, bytes)
        }
      })(disk),
  }
}

function withoutSession(value: Buffer): Buffer {
  const transaction = decodeTransaction(value)
  if (transaction !== null) return encodeTransaction({ ...transaction, session: 1 })
  const checkpoint = decodeCheckpoint(value)
  return checkpoint === null ? value : encodeCheckpoint({ ...checkpoint, session: 1 })
}
