import { readFileSync } from 'node:fs'

/** The most memory that a process ever held. @throws Error when there is none */
export function peakMiB(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  if (line === null) throw new Error(`process ${pid} has no memory any more`)
  return Number(line[1]) / 1024
}
