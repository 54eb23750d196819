import { pipeline } from 'node:stream/promises'
import { createPassing } from '../segment-file.ts'

/** Retrieves into a passing file and writes that out: nothing comes out that was not verified whole.
 *  @param ask a retrieve into a file
 *  @throws StorError, and what writing to `output` throws */
export async function retrieveToOutput(
  params: Readonly<Record<string, unknown>>,
  ask: (params: Readonly<Record<string, unknown>>) => Promise<unknown>,
  output: NodeJS.WritableStream,
): Promise<void> {
  await using passing = await createPassing()
  await ask({ ...params, file: passing.path })
  await pipeline(passing.read(), output, { end: false })
}
