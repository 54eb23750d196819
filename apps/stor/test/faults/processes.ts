import assert from 'node:assert'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { type House, until } from './house.ts'

/** Two daemons at work on one store, as on two machines: other sockets, the same backends, the same master secret. */
export async function twice(house: House): Promise<void> {
  const other = await house.other()
  await using _ = other
  const both = [house, other]
  const names = [1, 2, 3, 4].map(i => `/n${i}`)
  await Promise.all(
    both.map(async (one, i) => {
      for (const name of names) await one.mustStore(`${name}of${i}`)
    }),
  )
  // The same names by both: one of the two is what the name stands for, whole.
  const outcomes = await Promise.all(both.flatMap(one => names.map(name => one.store(name))))
  for (const error of outcomes) if (error !== null) assert.ok(error.retryable, error.message)
  for (const name of names) {
    const sent = both.flatMap(one => one.sent(name))
    for (const one of both) {
      one.forget(name)
      const bytes = await one.retrieve(name)
      assert.ok(
        sent.some(mine => mine.equals(bytes)),
        `${name} is mixed`,
      )
    }
  }
  await Promise.all(
    both.map(async one => {
      const { repairer } = await one.runtime.store()
      await repairer.rebuild(null)
    }),
  )
  for (const one of both) {
    await one.assertNothingLost('beside another stor')
    await one.assertMendable()
    await until(async () => (await one.status()).otherDaemonSeenMs !== null)
  }
}

/** Another secret, and then a damaged superblock: each is told for what it is, and nothing is overwritten. */
export async function wrongSecret(house: House): Promise<void> {
  await house.mustStore('/secret')
  await house.stop()
  const right = await readFile(`${house.path}/master`)
  await writeFile(`${house.path}/master`, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
  const wrong = await house.start().catch(error => error)
  assert.strictEqual(wrong.reason, 'wrong-key')
  await house.stop()
  await writeFile(`${house.path}/master`, right, { mode: 0o600 })
  const superblocks = [1, 2, 3, 4, 5, 6].map(i => `${house.path}/meta${i}/records/73`)
  const whole = await Promise.all(superblocks.map(path => readFile(path)))
  for (const [i, path] of superblocks.entries()) {
    const bytes = Buffer.from(whole[i]!)
    bytes[0]! ^= 1
    await writeFile(path, bytes)
  }
  const damaged = await house.start().catch(error => error)
  assert.strictEqual(damaged.reason, 'damaged')
  await house.stop()
  // One that is whole is enough.
  await writeFile(superblocks[house.random.below(6)]!, whole[0]!)
  await house.start()
  await house.assertNothingLost('with its own secret again')
  house.note(`${wrong.message}\n${damaged.message}`)
}

/** The disk that it is retrieved to is full: nothing under the name, nothing beside it, and the next one works. */
export async function targetFull(house: House): Promise<void> {
  await house.mustStore('/big', 300_000)
  const { objects } = await house.runtime.store()
  const target = `${house.path}/target`
  await mkdir(target)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', target])
  try {
    const error = await objects.retrieve({ file: `${target}/big`, name: '/big' }).catch(error => error)
    assert.strictEqual(error.reason, 'file', String(error))
    assert.deepStrictEqual(await readdir(target), [])
    const range = { offsetBytes: 1000, lengthBytes: 50_000 }
    await objects.retrieve({ file: `${target}/part`, name: '/big', range })
    house.note(error.message)
  } finally {
    execFileSync('umount', [target])
  }
  await house.assertNothingLost('when there is room again')
}
