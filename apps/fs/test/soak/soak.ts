import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { prngFromSeed } from '@qsfs/testkit/prng'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { runFsxWorld } from './fsx-world.ts'
import { runMountedWorld } from './mounted-world.ts'
import { runSimulatedWorld } from './simulated-world.ts'

/** A program: worlds of random operations and crashes for ever, or for `--seconds`, until the first difference. `--only` chooses a kind
 *  of world, `--world` repeats one. */
const worlds = {
  simulated: (seed: number, directory: string) => runSimulatedWorld(seed, directory, { lives: 8, steps: 150 }),
  mounted: (seed: number, directory: string) => runMountedWorld(seed, directory, { lives: 6, lifeMs: 1500 }),
  fsx: (seed: number, directory: string) => runFsxWorld(seed, directory, { seconds: 20 }),
} as const
type Kind = keyof typeof worlds
const kinds = Object.keys(worlds) as Kind[]

const { values } = parseArgs({
  options: {
    seconds: { type: 'string' },
    seed: { type: 'string' },
    only: { type: 'string' },
    world: { type: 'string' },
  },
})
const seed = values.seed === undefined ? randomInt(2 ** 32) : Number(values.seed)
const endMs =
  values.seconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + Number(values.seconds) * 1000
const wanted = kinds.filter(kind => values.only === undefined || kind === values.only)
if (wanted.length === 0) throw new Error(`--only takes one of ${kinds.join(', ')}`)
const tellEveryMs = 10_000
const done = { worlds: 0, operations: 0 }
let toldMs = performance.now()
let isStopped = false
process.once('SIGINT', () => {
  isStopped = true
})

async function runOne(kind: Kind, world: number): Promise<void> {
  await using directory = await temporaryDirectory()
  try {
    const { operations } = await worlds[kind](world, directory.path)
    done.worlds++
    done.operations += operations
  } catch (error) {
    process.stdout.write(`${error instanceof Error ? error.stack : error}\n`)
    process.stdout.write(`soak fs: to see it again: pnpm soak fs --only ${kind} --world ${world}\n`)
    process.exitCode = 1
    isStopped = true
  }
}

function tell(): void {
  const outcome = process.exitCode === undefined ? 'no difference' : 'a difference'
  process.stdout.write(`soak fs: seed ${seed}, ${done.worlds} worlds, ${done.operations} operations, ${outcome}\n`)
}

if (values.world === undefined) {
  const prng = prngFromSeed(seed)
  process.stdout.write(`soak fs: seed ${seed}\n`)
  while (!isStopped && performance.now() < endMs) {
    for (const kind of wanted) if (!isStopped) await runOne(kind, prng.below(2 ** 32))
    if (performance.now() - toldMs < tellEveryMs) continue
    toldMs = performance.now()
    tell()
  }
} else await runOne(wanted[0]!, Number(values.world))
tell()
