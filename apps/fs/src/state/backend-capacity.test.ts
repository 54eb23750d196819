import assert from 'node:assert'
import { join } from 'node:path'
import { test } from 'node:test'
import { GiB } from '@qsfs/bytes/units'
import { serveControl } from '@qsfs/daemon/control'
import { silentLog } from '@qsfs/telemetry/log'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { BackendCapacity } from './backend-capacity.ts'

test('the backends limit what fits in, and those on this machine take from its disk', { timeout: 30_000 }, async () => {
  await using directory = await temporaryDirectory()
  const socket = join(directory.path, 'stor.sock')
  const clock = new ManualClock()
  let [capacityBytes, address]: [number | null, string] = [100 * GiB, 'backend.example:9900']
  const capacity = new BackendCapacity(socket, clock)
  assert.strictEqual(await capacity.freeBytes(9 * GiB), 9 * GiB, 'nobody answers')
  const handlers = {
    plan: () => ({ k: 4, n: 6, capacityBytes }),
    status: () => ({
      backends: [
        { use: 'data', address },
        { use: 'meta', address: 'unix:/meta.sock' },
      ],
    }),
  }
  await using _ = await serveControl(socket, handlers, silentLog)
  /** What was asked for is known some time later. */
  const becomes = async (expected: number) => {
    clock.advance(10_000)
    while ((await capacity.freeBytes(9 * GiB)) !== expected) await new Promise(resolve => setTimeout(resolve, 5))
  }
  await becomes(100 * GiB)
  address = 'unix:/backend.sock'
  await becomes(6 * GiB)
  address = 'backend.example:9900'
  capacityBytes = null
  await becomes(9 * GiB)
})
