import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { Difference, runWorld } from './world.ts'

/** A program: runs the model for ever, or for `--seconds`, and stops at the first difference. `--seed` repeats a run, `--world` one
 *  world of it. */
const { values } = parseArgs({
  options: { seconds: { type: 'string' }, seed: { type: 'string' }, world: { type: 'string' } },
})
const seed = values.seed === undefined ? randomInt(2 ** 32) : Number(values.seed)
const endMs =
  values.seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + Number(values.seconds) * 1_000
const tellEveryMs = 10_000

const done = { worlds: 0, lives: 0, commands: 0 }
let toldMs = performance.now()
let isStopped = false
process.once('SIGINT', () => {
  isStopped = true
})

function tell(): void {
  const { worlds, lives, commands } = done
  process.stdout.write(`soak: seed ${seed}, ${worlds} worlds, ${lives} lives, ${commands} commands, no difference\n`)
}

async function runOne(world: number): Promise<void> {
  try {
    const { commands, lives } = await runWorld(world)
    done.worlds++
    done.lives += lives
    done.commands += commands
  } catch (error) {
    const cause = error instanceof Difference ? error.cause : error
    process.stdout.write(`${error instanceof Difference ? error.message : ''}\n`)
    process.stdout.write(`${cause instanceof Error ? cause.stack : cause}\n`)
    process.stdout.write(`soak: to see it again: pnpm soak --world ${world}\n`)
    process.exit(1)
  }
}

if (values.world === undefined) {
  const prng = prngFromSeed(seed)
  process.stdout.write(`soak: seed ${seed}\n`)
  while (!isStopped && performance.now() < endMs) {
    await runOne(prng.below(2 ** 32))
    if (performance.now() - toldMs < tellEveryMs) continue
    toldMs = performance.now()
    tell()
  }
} else await runOne(Number(values.world))
tell()
