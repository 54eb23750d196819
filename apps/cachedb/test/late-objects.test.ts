/** An object whose id is told when its segment is not wanted any more must not stay in the store for ever. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fill, newWorld, open, pass, type World } from './compaction-world.ts'

/** A closed segment whose store hook has made its object and has not said so. */
async function whileStoring(world: World) {
  const namespace = await open(world, 'user')
  const answer = Promise.withResolvers<void>()
  world.store!.answering = answer.promise
  fill(namespace, 'k', 7, world.prng)
  namespace.jump()
  await pass(world, 1)
  assert.equal(namespace.segments()[0]!.note, 'storing')
  assert.equal(world.store!.objects.size, 1)
  return { namespace, answer: answer.resolve }
}

test('NSDEL waits for a store hook, and its object is deleted', async () => {
  const world = newWorld({ hasStore: true })
  const { namespace, answer } = await whileStoring(world)
  const dropping = namespace.drop()
  await pass(world, 1)
  assert.deepEqual(
    world.storage.list('/data').map(({ name }) => name),
    ['ns'],
  )
  answer()
  await dropping
  await pass(world, 1)
  assert.equal(world.store!.objects.size, 0)
  assert.equal(world.store!.deleted.length, 1)
  assert.deepEqual(world.storage.list('/data/ns'), [])
})

test('FLUSH while a store hook runs: its object is deleted when it is told', async () => {
  const world = newWorld({ hasStore: true })
  const { namespace, answer } = await whileStoring(world)
  await namespace.flush()
  answer()
  await pass(world, 1)
  assert.equal(world.store!.deleted.length, 1)
  assert.deepEqual(filesIn(world), ['d2', 'manifest'])
})

test('FLUSH while a store hook runs, then it fails: the store is asked again, for there may be an object', async () => {
  const world = newWorld({ hasStore: true })
  const { namespace, answer } = await whileStoring(world)
  await namespace.flush()
  world.store!.isDown = true
  answer()
  await pass(world, 3)
  assert.deepEqual(filesIn(world), ['d0', 'd2', 'h0', 'manifest'])
  world.store!.isDown = false
  await pass(world, 10)
  assert.equal(world.store!.deleted.length, 1)
  assert.equal(world.store!.objects.size, 0)
  assert.deepEqual(filesIn(world), ['d2', 'manifest'])
})

test('a crash between FLUSH and the end of a store hook: the next start asks for the object and deletes it', async () => {
  for (const isPowerCut of [false, true]) {
    const world = newWorld({ hasStore: true })
    const { namespace } = await whileStoring(world)
    await namespace.flush()
    const storage = isPowerCut ? world.storage.cut(world.prng) : world.storage.kill()
    world.store!.answering = Promise.resolve()
    const after = { ...world, storage }
    const again = await open(after, 'user')
    await pass(after, 1)
    assert.equal(world.store!.deleted.length, 1)
    assert.equal(world.store!.objects.size, 0)
    assert(!filesIn(after).some(name => name === 'd0' || name === 'h0'))
    assert.equal(again.info().entries, 0)
    // And not once more.
    await again[Symbol.asyncDispose]()
    await open(after, 'user')
    await pass(after, 1)
    assert.equal(world.store!.deleted.length, 1)
  }
})

function filesIn({ storage }: World): readonly string[] {
  return storage
    .list('/data/ns')
    .map(({ name }) => name)
    .sort()
}
