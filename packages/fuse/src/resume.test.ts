import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { mountKernel } from './mount.ts'

const here = (name: string) => JSON.stringify(join(import.meta.dirname, name))

/** Serves descriptor 3. Reading hangs in the first process of a mount and answers in those that resume it. */
const server = `
import { KernelChannel } from ${here('channel.ts')}
import { probePipeHandle } from ${here('pipe-handle.ts')}
import { serve, sessionDefaults } from ${here('session.ts')}
import { NullFilesystem } from ${here('testing/null-filesystem.ts')}
import { systemClock } from ${here('../../concurrency/src/clock.ts')}
import { Wakefulness } from ${here('../../concurrency/src/wakefulness.ts')}
import { silentLog } from ${here('../../telemetry/src/log.ts')}
const resumed = process.argv[1] === 'resumed'
class Filesystem extends NullFilesystem {
  read(...args) {
    console.log('read', args[4].resent)
    return resumed ? [Buffer.from('hello')] : new Promise(() => undefined)
  }
}
const channel = new KernelChannel(3, probePipeHandle(), new Wakefulness(systemClock, { pollUs: 100 }))
await serve(new Filesystem(), channel, { ...sessionDefaults, log: silentLog, resumed })
`

async function said(child: ChildProcess, text: string): Promise<void> {
  for await (const chunk of child.stdout ?? []) if (String(chunk).includes(text)) return
  assert.fail(`the server ended without saying ${text}`)
}

test('a read in flight survives the SIGKILL of the process that served it', async () => {
  await using directory = await temporaryDirectory()
  const mountpoint = directory.path
  const children: ChildProcess[] = []
  const start = (command: string, args: string[], fd?: number) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit', ...(fd === undefined ? [] : [fd])] })
    children.push(child)
    return child
  }
  const mount = await mountKernel({ mountpoint, fsname: 'test', allowOther: false, log: silentLog })
  try {
    const serveIt = (how: string) => start(process.execPath, ['--input-type=module', '-e', server, how], mount.fd)
    const first = serveIt('fresh')
    const reader = start('cat', [join(mountpoint, 'file-5')])
    let got = ''
    reader.stdout?.on('data', chunk => {
      got += chunk
    })
    const readerEnded = once(reader, 'close')
    await said(first, 'read false')
    first.kill('SIGKILL')
    await once(first, 'exit')
    const second = serveIt('resumed')
    await said(second, 'read true')
    assert.deepEqual(await readerEnded, [0, null])
    assert.equal(got, 'hello')
    assert.equal(await mount.unmount(), 'unmounted')
    await once(second, 'exit')
  } finally {
    for (const child of children) child.kill('SIGKILL')
    // With the last descriptor the connection ends, and nobody hangs in it any more.
    closeSync(mount.fd)
    await mount.unmount()
  }
})
