import assert from 'node:assert/strict'
import { mkdirSync, realpathSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryDirectory } from '@qsfs/testkit/tmp'
import { makeSocketDirectory, makeStateDirectory, stateDirectory } from './embedded/state-directory.ts'
import { chosenState, runningInstance } from './running.ts'
import { type RunningInstance, startTicksOf, writeInstance } from './supervisor/running-processes.ts'

/** As if `qsfs up` ran there, in this process. */
function running(t: TestContext, directory: string, name: string): RunningInstance {
  const state = stateDirectory(join(directory, name))
  const mount = join(directory, `${name}-mnt`)
  makeStateDirectory(state)
  mkdirSync(mount)
  const sockets = makeSocketDirectory(state.path, process.env)
  t.after(() => rmSync(sockets, { recursive: true }))
  const instance = {
    command: 'up' as const,
    isStopping: false,
    state: state.path,
    mount,
    transport: 'kernel',
    supervisorPid: process.pid,
    supervisorStartTicks: startTicksOf(process.pid),
    cachedb: { address: 'unix:/x', dataDirectory: '/d', cacheBytesMax: 5 },
    storSocket: '/x',
    fsSocket: '/y',
    masterKeyPath: null,
    processes: [],
  }
  writeInstance(state.processesPath, instance)
  return instance
}

test('the state that is meant is found from wherever one stands, or the sentence says what to pass', async t => {
  await using tmp = await temporaryDirectory()
  const directory = realpathSync(tmp.path)
  const [one, other] = [running(t, directory, 'one'), running(t, directory, 'other')]
  const before = process.env.INIT_CWD
  t.after(() => {
    if (before === undefined) delete process.env.INIT_CWD
    else process.env.INIT_CWD = before
  })
  process.env.INIT_CWD = directory
  assert.equal(chosenState('one').path, one.state)
  assert.equal(chosenState(undefined, join(other.mount, 'a', 'b')).path, other.state)
  assert.throws(() => chosenState(undefined, directory), {
    exitCode: 2,
    message: new RegExp(`^there is no ${directory}/.qsfs; say with --state DIR .*--state ${one.state} \\(mounted at`),
  })
  mkdirSync(join(directory, '.qsfs'))
  assert.equal(chosenState(undefined, directory).path, join(directory, '.qsfs'))
  assert.equal(chosenState(undefined, one.mount).path, one.state)

  assert.equal(runningInstance(stateDirectory(one.state)).mount, one.mount)
  writeInstance(stateDirectory(one.state).processesPath, { ...one, command: 'fsck' })
  assert.throws(() => runningInstance(stateDirectory(one.state)), {
    exitCode: 1,
    message: `process ${process.pid} checks the state ${one.state} with \`qsfs fsck\`; try again when it is done`,
  })

  // The machine was restarted, and another process has its pid.
  writeInstance(stateDirectory(one.state).processesPath, { ...one, supervisorStartTicks: 5 })
  assert.throws(() => runningInstance(stateDirectory(one.state)), {
    exitCode: 1,
    message: `no qsfs runs on the state ${one.state}; start it with \`qsfs up --state ${one.state}\``,
  })
})
