import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { middleBy } from '../middle.ts'
import { atLeastRatio, failedRow, type Row, row } from '../row.ts'
import { type BackendProcess, Cluster } from './cluster.ts'
import { isSameFile, writeRandomFile } from './files.ts'
import { lateSocket } from './late-socket.ts'

const fileMiB = 256
const fileBytes = fileMiB * 2 ** 20
const lateMs = 20
const rounds = 3

/** Makes two backends, or the first of them, misbehave until it is disposed of. */
type Fault = (first: BackendProcess, second: BackendProcess) => Promise<AsyncDisposable>

const faults: readonly (readonly [name: string, fault: Fault])[] = [
  ['2 of 6 backends lost', async (...lost) => killed(lost)],
  [`one backend ${lateMs} ms late`, late],
  ['one backend hanging', async one => frozen(one)],
]

/** A retrieve while backends that it would read from misbehave, beside one just before while all are well. */
export async function faultRows(): Promise<Row[]> {
  await using tmp = await temporaryDirectory()
  await using cluster = await Cluster.start(tmp.path)
  const [file, back] = [join(tmp.path, 'random'), join(tmp.path, 'back')]
  await writeRandomFile(file, fileBytes)
  await cluster.store(file, '/bench/faults')
  const retrieve = async () => fileBytes / 1e3 / (await cluster.retrieve(back, '/bench/faults'))
  // Compiles what runs; then says who is read from.
  await retrieve()
  const measured = faults.map(() => [] as { healthy: number; hurt: number }[])
  const failures = new Map<number, unknown>()
  for (let round = 0; round < rounds; round++) {
    for (const [index, [name, fault]] of faults.entries()) {
      if (failures.has(index)) continue
      try {
        await cluster.allUp()
        const before = await cluster.piecesRead()
        const healthy = await retrieve()
        const [first, second] = mostRead(before, await cluster.piecesRead())
        await using _ = await fault(first!, second!)
        const hurt = await retrieve()
        console.error(`bench: ${name}: ${Math.round(hurt)} MB/s, healthy ${Math.round(healthy)}`)
        measured[index]!.push({ healthy, hurt })
        assert(await isSameFile(file, back), 'what came back is what was stored')
      } catch (error) {
        failures.set(index, error)
      }
    }
  }
  return faults.map(([name], index) => {
    const what = `stor: retrieve ${fileMiB} MiB, ${name}`
    if (failures.has(index)) return failedRow(what, failures.get(index))
    const { healthy, hurt } = middleBy(measured[index]!, turn => turn.hurt / turn.healthy)
    return row(what, hurt, 'MB/s', { against: { name: 'healthy', value: healthy }, target: atLeastRatio(0.8) })
  })
}

/** Those that gave most between two readings first. */
function mostRead(before: Map<BackendProcess, number>, after: Map<BackendProcess, number>): BackendProcess[] {
  const given = (backend: BackendProcess) => after.get(backend)! - before.get(backend)!
  return [...after.keys()].sort((a, b) => given(b) - given(a))
}

async function killed(backends: readonly BackendProcess[]): Promise<AsyncDisposable> {
  await Promise.all(backends.map(backend => backend.kill()))
  return {
    async [Symbol.asyncDispose]() {
      await Promise.all(backends.map(backend => backend.start()))
    },
  }
}

/** Stor's connections are cut, and lead over a slow socket when they are made again. */
async function late(backend: BackendProcess): Promise<AsyncDisposable> {
  await using starting = new AsyncDisposableStack()
  await backend.kill()
  const path = `${backend.socketPath}.late`
  starting.use(await lateSocket(path, backend.ownSocketPath, lateMs))
  await backend.start({ before: path })
  const proxied = starting.move()
  return {
    async [Symbol.asyncDispose]() {
      await backend.kill()
      await proxied.disposeAsync()
      await backend.start()
    },
  }
}

function frozen(backend: BackendProcess): AsyncDisposable {
  backend.freeze()
  return { [Symbol.asyncDispose]: async () => backend.thaw() }
}
