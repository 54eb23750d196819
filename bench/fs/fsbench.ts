import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const program = new URL('../fsbench.py', import.meta.url).pathname

/** By place and step a figure, or why there is none. */
export type Figures = Readonly<Record<string, Readonly<Record<string, number | string>>>>

/** One round of steps of fsbench.py in each directory, taking turns step by step. Its table goes to stderr.
 *  @param places directories by name */
export async function runFsbench(steps: readonly string[], places: Readonly<Record<string, string>>): Promise<Figures> {
  const directories = Object.entries(places).map(([name, directory]) => `${name}=${directory}`)
  const { stdout } = await promisify(execFile)('python3', [program, '--steps', steps.join(','), ...directories])
  const lines = stdout.trimEnd().split('\n')
  console.error(lines.slice(0, -1).join('\n'))
  return JSON.parse(lines.at(-1)!)
}

/** @throws Error when the step has failed there, with the reason */
export function figureOf(figures: Figures, place: string, step: string): number {
  const value = figures[place]?.[step]
  if (typeof value !== 'number') throw new Error(`${place}: ${value}`)
  return value
}
