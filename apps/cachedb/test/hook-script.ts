import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, systemClock } from '@qsfs/concurrency/clock'
import { type Log, silentLog } from '@qsfs/telemetry/log'
import { ExecHooks, type ExecHooksOptions } from '../src/engine/hooks/exec-hooks.ts'

/** A store for tests: keeps segments as files named by a made-up object id, and logs its calls. */
export const storingScript = `
store="$STORE_DIR"; event=$1; file=\${3:-}
echo "$event \${file##*/} $QSFS_OBJECT_ID" >> "$store/log"
case $event in
jump-data)
  id=$(printf '%s' "$file" | md5sum | cut -c1-32)
  cp "$file" "$store/$id"; cp "$QSFS_HINT_PATH" "$store/$id.hint"
  echo "stored $id" ;;
missing-data)
  part="\${file%/*}/.\${file##*/}.$QSFS_OBJECT_ID.part"
  cp "$store/$QSFS_OBJECT_ID" "$part" && mv "$part" "$file" ;;
segment-deleted) rm -f "$store/$4" "$store/$4.hint" ;;
esac
`

interface ScriptHooksOptions extends Partial<ExecHooksOptions> {
  readonly log?: Log
  readonly clock?: Clock
}

/** Writes a script and starts hooks that run it, with STORE_DIR set to `<directory>/store`. */
export async function scriptHooks(
  directory: string,
  script: string,
  { log = silentLog, clock = systemClock, ...options }: ScriptHooksOptions = {},
): Promise<ExecHooks> {
  const store = join(directory, 'store')
  mkdirSync(store, { recursive: true })
  const path = join(directory, 'hook.sh')
  writeFileSync(path, `#!/bin/sh\nset -eu\nSTORE_DIR='${store}'\n: "\${QSFS_OBJECT_ID:=}"\n${script}`)
  chmodSync(path, 0o755)
  const { timeoutMs = 10_000, retrieveTimeoutMs = timeoutMs, closeTimeoutMs = timeoutMs, ...rest } = options
  const defaults = { path, instanceId: 'unix:///test', storeMax: 2, retrieveMax: 2 }
  return ExecHooks.start({ ...defaults, ...rest, timeoutMs, retrieveTimeoutMs, closeTimeoutMs }, clock, log)
}

/** Makes a hook of a text for sh. */
export function writeHook(path: string, script: string, mode: number): void {
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, mode)
}

/** Waits until the condition holds; a test that waits in vain fails by its own time limit. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 10))
}
