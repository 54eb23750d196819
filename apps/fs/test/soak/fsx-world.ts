import { join } from 'node:path'
import { Stack } from '../stack.ts'

/** Random operations on one file of a mount, beside a plain array of bytes. */
export async function runFsxWorld(
  seed: number,
  directory: string,
  { seconds }: { readonly seconds: number },
): Promise<{ operations: number }> {
  await using stack = await Stack.start(directory)
  const told = await stack.python(join(import.meta.dirname, 'fsx.py'), String(seed), String(seconds))
  const { exitCode, stdout } = await stack.fsck()
  if (exitCode !== 0) throw new Error(`fsck: ${stdout}`)
  return { operations: Number.parseInt(told, 10) }
}
