import { equal, match, ok } from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '@qsfs/testkit/manual-clock'
import { ClientDropped, defaultConnectionLimits } from './limits.ts'
import { roundTrip, start } from './testing/test-server.ts'

const echo = (text: string) => `*2\r\n$4\r\nECHO\r\n$${text.length}\r\n${text}\r\n`

for (const [how, limits, text, count] of [
  ['time', { sliceMs: 0 }, 'x', 5000],
  ['bytes', { sliceBytes: 100_000 }, 'x'.repeat(50_000), 200],
] as const) {
  test(`a long pipeline runs in slices of ${how}, and others run between them`, async t => {
    const { connectClient, executed } = await start(t, { limits: { ...defaultConnectionLimits, ...limits } })
    const [heavy, light] = [connectClient(), connectClient()]
    await roundTrip(heavy)
    await roundTrip(light)
    executed.length = 0
    heavy.send(echo(text).repeat(count))
    light.send(echo('light'))
    const replyBytes = `$${text.length}\r\n\r\n`.length + text.length
    const replies = await heavy.until('$1\r\nx\r\n'.length + count * replyBytes)
    equal(replies, `$1\r\nx\r\n${`$${text.length}\r\n${text}\r\n`.repeat(count)}`)
    equal(executed.length, count + 1)
    ok(executed.indexOf('ECHO light') < count / 2, `it ran as number ${executed.indexOf('ECHO light')} of ${count}`)
  })
}

test('large replies end a slice too', async t => {
  const { connectClient, executed } = await start(t)
  const [heavy, light] = [connectClient(), connectClient()]
  await roundTrip(heavy)
  await roundTrip(light)
  executed.length = 0
  heavy.text = ''
  heavy.send('BIG 600000\r\n'.repeat(20))
  light.send(echo('light'))
  const bytes = 20 * ('$600000\r\n\r\n'.length + 600_000)
  equal((await heavy.until(bytes)).length, bytes)
  ok(executed.indexOf('ECHO light') < 10, `it ran as number ${executed.indexOf('ECHO light')}`)
})

test('slices of several clients take turns, and a client that leaves in between is forgotten', async t => {
  const { connectClient, executed, errors } = await start(t, { limits: { ...defaultConnectionLimits, sliceMs: 0 } })
  const [first, second, leaving] = [connectClient(), connectClient(), connectClient()]
  for (const client of [first, second, leaving]) await roundTrip(client)
  executed.length = 0
  first.send(echo('1').repeat(1000))
  second.send(echo('2').repeat(1000))
  leaving.send(echo('3').repeat(1000))
  leaving.socket.destroy()
  await Promise.all([first, second].map(client => client.until(1001 * 7)))
  const secondBegan = executed.indexOf('ECHO 2')
  ok(secondBegan < executed.lastIndexOf('ECHO 1') && executed.indexOf('ECHO 1') < executed.lastIndexOf('ECHO 2'))
  equal(executed.filter(command => command === 'ECHO 1').length, 1000)
  ok(!errors.some(error => error instanceof ClientDropped))
})

test('commands wait while the replies under way will be large', async t => {
  const limits = { ...defaultConnectionLimits, runningBytesMax: 1000 }
  const { connectClient, gates, executed } = await start(t, { limits })
  const [client, other] = [connectClient(), connectClient()]
  client.send('WAITFOR small 1000\r\nWAITFOR large 5000\r\nWAITFOR next 1\r\n')
  while (!gates.has('large')) await roundTrip(other)
  await roundTrip(other)
  ok(!gates.has('next'))
  gates.get('large')!.resolve(2)
  while (!executed.includes('WAITFOR next')) await roundTrip(other)
  gates.get('small')!.resolve(1)
  gates.get('next')!.resolve(3)
  equal(await client.until(12), ':1\r\n:2\r\n:3\r\n')
})

test('a client that takes none of its output is dropped, one that takes a little now and then is not', async t => {
  const clock = new ManualClock()
  const limits = { ...defaultConnectionLimits, unreadMs: 30_000 }
  const { connectClient, errors, server } = await start(t, { clock, limits })
  const [deaf, slow] = [connectClient(), connectClient()]
  for (const client of [deaf, slow]) {
    await roundTrip(client)
    client.socket.pause()
    client.send(`BIG ${8 * 1024 * 1024}\r\n`)
  }
  await roundTrip(connectClient())
  for (let second = 0; second < 40; second++) {
    await clock.advance(1000)
    slow.socket.read(64 * 1024)
    // What it read makes room in the kernel; a round trip lets the server use it.
    await roundTrip(connectClient())
  }
  equal(errors.length, 1)
  ok(errors[0] instanceof ClientDropped)
  match(errors[0].message, /^it took none of the \d+ bytes that wait for it, for 30000 ms$/)
  ok(!slow.socket.destroyed)
  ok(server.clientCount > 1)
  slow.socket.resume()
  await slow.until(8 * 1024 * 1024)
})

test('an idle client is dropped; one that waits, listens or speaks is not', async t => {
  const clock = new ManualClock()
  const limits = { ...defaultConnectionLimits, idleMs: 10_000 }
  const { connectClient, errors, gates, executed } = await start(t, { clock, limits })
  const [idle, waiting, listening, speaking] = [connectClient(), connectClient(), connectClient(), connectClient()]
  await roundTrip(idle)
  waiting.send('WAITFOR gate\r\n')
  listening.send('LISTEN\r\n')
  while (executed.length < 3) await roundTrip(speaking)
  for (let second = 0; second < 15; second++) {
    await clock.advance(1000)
    await roundTrip(speaking)
  }
  await idle.untilClosed()
  equal(errors.length, 1)
  equal(errors[0]?.message, 'it was idle for 10000 ms')
  gates.get('gate')!.resolve('done')
  equal(await waiting.until(7), '+done\r\n')
  speaking.send('PUSH news\r\n')
  equal(await listening.until(10), '$4\r\nnews\r\n')
})

test('without idleMs nobody is too silent', async t => {
  const clock = new ManualClock()
  const { connectClient } = await start(t, { clock })
  const client = connectClient()
  await roundTrip(client)
  await clock.advance(600_000)
  await roundTrip(client)
})

test('a client that closed its half and reads late gets all of a large reply', async t => {
  const clock = new ManualClock()
  const { connectClient, executed } = await start(t, { clock })
  const [client, other] = [connectClient(), connectClient()]
  await roundTrip(client)
  client.text = ''
  client.socket.pause()
  client.socket.end(`BIG ${4 * 1024 * 1024}\r\n`)
  while (!executed.some(command => command.startsWith('BIG'))) await roundTrip(other)
  await clock.advance(20_000)
  client.socket.resume()
  equal((await client.untilClosed()).length, 4 * 1024 * 1024 + '$4194304\r\n\r\n'.length)
})
