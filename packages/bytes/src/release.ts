/** Gives the memory of a large buffer back now instead of when the collector gets to it: it sees only the small object,
 *  and lets tens of megabytes gather. The buffer is empty afterwards. One that shares its memory with others is left alone. */
export function releaseMemory(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength) buffer.transfer(0)
}
