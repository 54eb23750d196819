import { ControlError, type ControlHandler } from '@qsfs/daemon/control'
import type { NodeId } from '@qsfs/fuse/filesystem'
import type { Volume } from '../ops/volume.ts'
import { attempt } from '../tree/attempt.ts'
import { rootNodeId } from '../tree/inode-table.ts'
import { blocksText, type FileStates, stateText } from './file-state.ts'

/** The control socket's `state` {path}: where the bytes of a file, or of all below a directory, are. `path` counts from the mountpoint. */
export function stateRequest(volume: Volume, states: FileStates): ControlHandler {
  return async ({ path }, { signal }) => {
    if (typeof path !== 'string') throw new ControlError('usage', 'state takes a path')
    const nodeId = await nodeAt(volume, path)
    const state = await states.of([nodeId], signal)
    return { path, ...state, state: stateText(state), blocks: blocksText(state) }
  }
}

async function nodeAt(volume: Volume, path: string): Promise<NodeId> {
  let nodeId: NodeId = rootNodeId
  for (const name of path.split('/').filter(part => part !== '' && part !== '.')) {
    const key = Buffer.from(name).toString('latin1')
    const entry = await attempt(() => {
      const directory = volume.inodes.find(nodeId)
      return directory?.isDirectory ? volume.directories.find(directory, key) : null
    })
    if (entry === null) throw new ControlError('not-found', `there is no ${path}`)
    nodeId = entry.nodeId
  }
  return nodeId
}
