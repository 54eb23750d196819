import { join } from 'node:path'
import { families } from '../posix-families.ts'
import { Stack } from '../stack.ts'
import { limits } from './limits.ts'

// Our POSIX suite through fuse-native, as whoever runs this, in the directory that is named. Prints what each family said last when
// it failed, null when it did not.

const outcomes: Record<string, string | null> = {}
{
  await using stack = await Stack.start(process.argv[2]!, 'transport = "fuse-native"\nallow_other = false')
  for (const family of families) {
    const listed = Object.entries(limits[family] ?? {}).map(([check, { kind }]) =>
      kind === 'fails' ? `${check}=fails` : check,
    )
    const script = join(import.meta.dirname, '../posix', `${family}.py`)
    outcomes[family] = await stack.python('-B', script, ...listed).then(
      () => null,
      (error: Error) => error.message,
    )
  }
}
process.stdout.write(JSON.stringify(outcomes))
