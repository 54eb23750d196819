import { crc32c } from '@qsfs/bytes/checksum'

/** A store that goes on without its asker. */
export interface Job {
  /** Grows; jobs are begun in this order. */
  readonly number: number
  readonly file: string
  readonly name: string | null
  readonly attach: string | null
  /** Delete the file once its bytes are stored. */
  readonly delete: boolean
  /** `queued`: nobody waits for it; `failed`: somebody did, and was told that it failed. */
  readonly cause: 'queued' | 'failed'
  /** Wall clock, milliseconds since 1970. */
  readonly queuedMs: number
  /** SHA-256 of what was stored, hex: only the file remains to be deleted. */
  readonly stored: string | null
}

const MAGIC = 'qsfs stor job 1 '

/** A job's file: a line with magic, version and the CRC-32C of the second line, which is JSON. */
export function encodeJob({ number: _, ...job }: Job): Buffer {
  const body = Buffer.from(`${JSON.stringify(job)}\n`)
  return Buffer.concat([Buffer.from(`${MAGIC}${crcText(body)}\n`), body])
}

/** Null for anything that `encodeJob` did not write. */
export function decodeJob(number: number, bytes: Buffer): Job | null {
  const bodyAt = MAGIC.length + 9
  const body = bytes.subarray(bodyAt)
  if (bytes.subarray(0, bodyAt).toString('latin1') !== `${MAGIC}${crcText(body)}\n`) return null
  // What the checksum covers was written by us, so it has our shape.
  return { number, ...(JSON.parse(body.toString()) as Omit<Job, 'number'>) }
}

/** A job's file name; 16 digits, so that names sort as numbers do. */
export function jobFileName(number: number): string {
  return `${String(number).padStart(16, '0')}.job`
}

/** Null for other files. */
export function numberOfJobFile(fileName: string): number | null {
  return /^\d{16}\.job$/.test(fileName) ? Number(fileName.slice(0, 16)) : null
}

function crcText(bytes: Buffer): string {
  return crc32c(bytes).toString(16).padStart(8, '0')
}
