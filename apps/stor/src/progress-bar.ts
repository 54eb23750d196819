import { formatSize } from '@qsfs/bytes/units'
import type { TransferProgress } from '@qsfs/protocol/stor-control'
import { SingleBar } from 'cli-progress'

/** One bar on a terminal; it appears with the first progress. (`total` is the library's own word, for the bare number.) */
export function openProgressBar(stream: NodeJS.WriteStream) {
  const bar = new SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: true,
    format: '{bar} {percentage}%  {done} of {whole}  {eta_formatted}',
  })
  let isStarted = false
  return {
    update({ doneBytes, totalBytes }: TransferProgress): void {
      const texts = { done: formatSize(doneBytes), whole: formatSize(totalBytes) }
      if (!isStarted) bar.start(totalBytes, doneBytes, texts)
      else bar.update(doneBytes, texts)
      isStarted = true
    },
    stop(): void {
      if (isStarted) bar.stop()
      isStarted = false
    },
  }
}
