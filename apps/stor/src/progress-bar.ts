import { formatSize } from '@qsfs/bytes/units'
import type { RecoverProgress, TransferProgress } from '@qsfs/protocol/stor-control'
import { SingleBar } from 'cli-progress'

/** One bar on a terminal; it appears with the first progress. (`total` is the library's own word, for the bare number.) */
export function openProgressBar(stream: NodeJS.WriteStream) {
  const bar = new SingleBar({
    stream,
    hideCursor: true,
    clearOnComplete: true,
    format: '{bar} {percentage}%  {now} of {whole}  {eta_formatted}',
  })
  let of = ''
  return {
    update(progress: TransferProgress | RecoverProgress): void {
      const { what, done, total, ...texts } = shown(progress)
      if (what !== of) bar.stop()
      if (what !== of) bar.start(total, done, texts)
      else {
        bar.setTotal(total)
        bar.update(done, texts)
      }
      of = what
    },
    stop(): void {
      if (of !== '') bar.stop()
      of = ''
    },
  }
}

function shown(progress: TransferProgress | RecoverProgress) {
  if ('doneBytes' in progress) {
    const { doneBytes: done, totalBytes: total } = progress
    return { what: 'transfer', done, total, now: formatSize(done), whole: formatSize(total) }
  }
  const { phase, doneCount: done, totalCount: total, recoveredCount } = progress
  const [now, whole] =
    phase === 'reading'
      ? [`read ${done}`, `${total} values`]
      : [`${recoveredCount} records; ${done}`, `${total} objects`]
  return { what: phase, done, total, now, whole }
}
