import assert from 'node:assert'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import test from 'node:test'
import { systemClock } from '@qsfs/concurrency/clock'
import type { ControlContext } from '@qsfs/daemon/control'
import { silentLog } from '@qsfs/telemetry/log'
import { directoryStore } from '../../test/store-fixture.ts'
import { loadStorConfig } from '../config.ts'
import { LiveStore } from './live-store.ts'

test('a reload begins to write under the new config when the last writer of the old one has ended', async () => {
  await using stack = new AsyncDisposableStack()
  const { config } = await directoryStore(stack)
  const released = Promise.withResolvers<string>()
  const live = stack.use(
    new LiveStore(loadStorConfig(config), {
      load: () => loadStorConfig(config),
      handlersOf: () => ({ delete: () => released.promise }),
      tools: { clock: systemClock, random: randomBytes, log: silentLog },
    }),
  )
  await live.start()
  const old = live.runtime
  const disposed = Promise.withResolvers<void>()
  const dispose = old[Symbol.asyncDispose].bind(old)
  old[Symbol.asyncDispose] = async () => {
    await dispose()
    disposed.resolve()
  }
  const context = { signal: new AbortController().signal } as unknown as ControlContext
  const deleted = live.handlers.delete!({}, context)
  await Promise.resolve()
  await writeFile(config, (await readFile(config, 'utf8')).replace('[stor]', '[stor]\nstores_max = 3'))
  let isReloaded = false
  const reloaded = live.reload().then(() => {
    isReloaded = true
  })
  await disposed.promise
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setTimeout(resolve, 10))
  assert.deepStrictEqual([isReloaded, live.runtime === old], [false, true])
  released.resolve('done')
  assert.strictEqual(await deleted, 'done')
  await reloaded
  assert.notStrictEqual(live.runtime, old)
})
