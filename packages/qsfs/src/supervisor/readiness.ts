import { askControl, ControlUnreachable } from '@qsfs/daemon/control'
import { probeSocket } from '@qsfs/daemon/unix-socket'
import { isMounted } from '@qsfs/fuse/mount'
import { ConnectionLost, RespClient, RespError } from '@qsfs/resp/client'

/** A cachedb is ready when it answers; an error is an answer. */
export async function answersResp(address: string): Promise<boolean> {
  try {
    await using client = await RespClient.connect({ address, connectTimeoutMs: 1000, commandTimeoutMs: 1000 })
    await client.call('PING')
    return true
  } catch (error) {
    if (error instanceof ConnectionLost) return false
    if (error instanceof RespError) return true
    throw error
  }
}

/** stor is ready when its control socket accepts. */
export async function acceptsConnections(socketPath: string): Promise<boolean> {
  return (await probeSocket(socketPath)) === 'alive'
}

/** fs is ready when it is mounted and its control socket answers. */
export async function servesMount(socketPath: string, mountpoint: string): Promise<boolean> {
  if (!(await isMounted(mountpoint))) return false
  try {
    await askControl(socketPath, 'status')
    return true
  } catch (error) {
    if (error instanceof ControlUnreachable) return false
    throw error
  }
}
