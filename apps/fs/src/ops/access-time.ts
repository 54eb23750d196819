import type { Timestamp } from '@qsfs/fuse/filesystem'
import { change } from '../tree/attempt.ts'
import type { Inode } from '../tree/inode.ts'
import type { Volume } from './volume.ts'

const daySeconds = 86_400

/** Someone read it. As Linux mounts have it by default (relatime), the time of access moves when it would else be before the last change,
 *  or is a day old: programs that compare the two are content, and most reads write nothing. */
export function noteAccess(volume: Volume, inode: Inode): void {
  const { inodes, metadata } = volume
  const now = volume.now()
  if (!isDue(inode, now)) return
  const noting = change(metadata, () => {
    if (inodes.find(inode.nodeId) !== inode || !isDue(inode, now)) return
    inode.atime = now
    inodes.touch(inode)
  })
  if (noting instanceof Promise) noting.catch(notWorthAnError)
}

function isDue({ atime, mtime, ctime }: Inode, now: Timestamp): boolean {
  return !isAfter(atime, mtime) || !isAfter(atime, ctime) || now.seconds - atime.seconds >= daySeconds
}

function isAfter(a: Timestamp, b: Timestamp): boolean {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanos > b.nanos)
}

/** The store takes nothing now: whoever read has its bytes all the same. */
function notWorthAnError(): void {}
