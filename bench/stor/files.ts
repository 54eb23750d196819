import { randomFillSync } from 'node:crypto'
import { open } from 'node:fs/promises'

const chunkBytes = 2 ** 20

/** A file that no compressor makes smaller. It stays in the page cache. */
export async function writeRandomFile(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'w')
  const chunk = Buffer.alloc(chunkBytes)
  for (let atBytes = 0; atBytes < sizeBytes; atBytes += chunkBytes) {
    randomFillSync(chunk)
    await file.write(chunk, 0, Math.min(chunkBytes, sizeBytes - atBytes))
  }
  await file.sync()
}

export async function isSameFile(one: string, other: string): Promise<boolean> {
  await using a = await open(one)
  await using b = await open(other)
  const [chunkA, chunkB] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)]
  for (;;) {
    const [{ bytesRead }, { bytesRead: otherRead }] = [await a.read(chunkA), await b.read(chunkB)]
    if (bytesRead !== otherRead || !chunkA.subarray(0, bytesRead).equals(chunkB.subarray(0, bytesRead))) return false
    if (bytesRead === 0) return true
  }
}
