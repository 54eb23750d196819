import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { silentLog } from '@qsfs/telemetry/log'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { clearStaleMount, isMounted, MountError, mountKernel } from './mount.ts'
import { MemoryFilesystem } from './testing/memory-filesystem.ts'
import { mounted } from './testing/mounted.ts'

const run = promisify(execFile)
const options = { fsname: 'test', allowOther: true, log: silentLog }

function refusal(exitCode: number, sentence: RegExp) {
  return (error: unknown) => {
    assert(error instanceof MountError)
    assert.equal(error.exitCode, exitCode)
    assert.match(error.message, sentence)
    return true
  }
}

test('a mountpoint that is missing, a file, or not empty is a wrong request', async () => {
  await using directory = await temporaryDirectory()
  const [missing, file] = [join(directory.path, 'missing'), join(directory.path, 'file')]
  await writeFile(file, '')
  await assert.rejects(mountKernel({ ...options, mountpoint: missing }), refusal(2, /missing cannot be used: ENOENT/))
  await assert.rejects(mountKernel({ ...options, mountpoint: file }), refusal(2, /file is not a directory/))
  await assert.rejects(mountKernel({ ...options, mountpoint: directory.path }), refusal(2, /is not empty/))
})

test('a mountpoint in use is left alone', async () => {
  await using mount = await mounted(new MemoryFilesystem())
  const { mountpoint } = mount
  await assert.rejects(mountKernel({ ...options, mountpoint }), refusal(1, /is in use/))
  assert.equal(await mount.sh('echo alive > f; cat f'), 'alive\n')
})

test('a mount whose server died is cleared away, also under a name with a space', async () => {
  await using directory = await temporaryDirectory()
  const mountpoint = join(directory.path, 'mount point')
  await mkdir(mountpoint)
  try {
    const mount = await mountKernel({ ...options, mountpoint })
    closeSync(mount.fd)
    assert.equal(await isMounted(mountpoint), true)
    await clearStaleMount(mountpoint)
    assert.equal(await isMounted(mountpoint), false)
    assert.equal(await mount.unmount(), 'unmounted')
  } finally {
    await run('umount', ['-l', mountpoint]).catch(() => undefined)
  }
})

test('a mount whose server died is mounted over, so that nothing is ever written into the directory below', async () => {
  await using directory = await temporaryDirectory()
  const mountpoint = join(directory.path, 'mnt')
  await mkdir(mountpoint)
  try {
    const dead = await mountKernel({ ...options, mountpoint })
    closeSync(dead.fd)
    const next = await mountKernel({ ...options, mountpoint })
    closeSync(next.fd)
    await assert.rejects(writeFile(join(mountpoint, 'stray'), ''), { code: 'ENOTCONN' })
    await next.unmount()
    assert.equal(await isMounted(mountpoint), false)
  } finally {
    await run('umount', ['-l', mountpoint]).catch(() => undefined)
    await run('umount', ['-l', mountpoint]).catch(() => undefined)
  }
})

test('without the privilege: one sentence', async () => {
  await using directory = await temporaryDirectory()
  await run('chmod', ['755', directory.path])
  const script = `
    import { mountKernel } from ${JSON.stringify(join(import.meta.dirname, 'mount.ts'))}
    process.setuid(65534)
    const log = { warn() {} }
    await mountKernel({ mountpoint: ${JSON.stringify(directory.path)}, fsname: 'x', allowOther: false, log })
      .catch(error => console.log(error.exitCode, error.message))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script])
  assert.match(stdout, /^1 (no permission to open \/dev\/fuse: run as root|mounting failed \(.*\): run as root)/)
})
