/** One sync for all who ask while another runs. A running one never counts for later callers: it may have begun before
 *  their writes arrived. */
export class GroupSync {
  readonly #sync: () => Promise<void>
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null

  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  /** Resolves after a sync that began after this call. */
  run(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    this.#next ??= this.#begin(this.#running)
    return this.#next
  }

  async #begin(before: Promise<void> | null): Promise<void> {
    // Its failure was its callers' to hear.
    await before?.catch(() => undefined)
    this.#running = this.#next
    this.#next = null
    await this.#sync()
  }
}
