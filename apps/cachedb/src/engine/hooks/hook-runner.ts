import { createInterface } from 'node:readline'
import { systemClock } from '@qsfs/concurrency/clock'
import { PipeStock } from './hook-pipes.ts'
import { HookProcess, type HookTools } from './hook-process.ts'
import type { HookOrder, HookReport, HookRequest } from './hook-protocol.ts'

/** The program that runs hooks: a small process starts others in 1.5 ms, one that holds gigabytes of keydir in 70. Ends when its stdin
 *  does: cachedb is gone then. What may outlive cachedb ends first; the rest is killed; of a crash, the hook of it is run. */

const running = new Map<number, { readonly hook: HookProcess; readonly outlives: boolean }>()
const pipes = new PipeStock()
const tools: HookTools = {
  clock: systemClock,
  openPipe: () => pipes.take(),
  environment: process.env,
  kill: killGroup,
  say: text => process.stderr.write(text),
}
let onCrash: HookRequest | null = null
let isOver = false

process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
// Nobody listens any more: the end of stdin says so, too.
process.stdout.on('error', () => undefined)
process.stderr.on('error', () => undefined)

createInterface({ input: process.stdin })
  .on('line', line => obey(JSON.parse(line) as HookOrder))
  .on('close', over)
process.stdin.on('error', over)

function obey(order: HookOrder): void {
  if (order.type === 'run') run(order.request)
  else if (order.type === 'on-crash') onCrash = order.request
  else {
    onCrash = null
    part()
    report({ type: 'parted' })
  }
}

/** cachedb is gone. */
function over(): void {
  if (isOver) return
  isOver = true
  part()
  if (onCrash !== null) run(onCrash)
  endWhenIdle()
}

function run(request: HookRequest): void {
  const { id, outlives } = request
  const hook = new HookProcess(request, tools)
  running.set(id, { hook, outlives })
  if (hook.pid !== undefined) report({ type: 'started', id, pid: hook.pid })
  void hook.ended.then(end => {
    running.delete(id)
    report({ type: 'ended', id, end })
    endWhenIdle()
  })
}

function part(): void {
  for (const [id, { hook, outlives }] of running) {
    if (outlives) continue
    running.delete(id)
    hook.kill()
  }
}

function endWhenIdle(): void {
  if (isOver && running.size === 0) process.exit(0)
}

function killGroup(groupId: number): void {
  try {
    process.kill(-groupId, 'SIGKILL')
  } catch (error) {
    // ESRCH: it ended by itself a moment ago. EPERM: it became another user's, and is given up after the grace.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

function report(message: HookReport): void {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
