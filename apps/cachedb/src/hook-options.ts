import type { CachedbConfig } from './config.ts'
import type { ExecHooksOptions } from './engine/hooks/exec-hooks.ts'

/** How the hook of this config is run. */
export function hookOptions(config: CachedbConfig): ExecHooksOptions {
  return {
    path: config.hookPath!,
    instanceId: instanceId(config),
    timeoutMs: config.hookTimeoutMs,
    retrieveTimeoutMs: config.retrieveTimeoutMs,
    closeTimeoutMs: config.closeTimeoutMs,
    storeMax: config.storeHooksMax,
    retrieveMax: config.retrieveHooksMax,
    storSocket: config.storSocket,
  }
}

/** How hooks are told who calls them, as 0-db does. */
function instanceId({ socketPath, listen, tls }: CachedbConfig): string {
  if (socketPath !== undefined) return `unix://${socketPath}`
  if (listen !== undefined) return `tcp://${listen.host}:${listen.port}`
  return `tls://${tls!.listen.host}:${tls!.listen.port}`
}
