import { zdbCrc } from '@qsfs/bytes/checksum'
import { KeyNotFound, KeyRefused, NamespaceFull } from '../../errors.ts'
import type { EntryLocation } from '../keydir/keydir.ts'
import { encodeId } from '../keydir/keydir-sequential.ts'
import type { NamespaceSettings } from '../namespace.ts'
import type { Writer } from './writer.ts'

/** Whether the kernel has a change when the call returns, or when what it returns settles. */
interface When {
  readonly atOnce: boolean
}

const nothing = Buffer.alloc(0)

/** 0-db's rules of what SET and DEL may change. Buffers passed in are borrowed until the call returns. */
export class Changes {
  readonly #writer: Writer
  readonly #settingsNow: () => NamespaceSettings

  constructor(writer: Writer, settingsNow: () => NamespaceSettings) {
    this.#writer = writer
    this.#settingsNow = settingsNow
  }

  /** @param timestampSeconds now, unless given
   *  @returns the key, null when it has this value already; `written` undefined: it is in the kernel
   *  @throws KeyRefused, NamespaceFull, CacheFull, NamespaceReadOnly */
  put(
    key: Buffer,
    value: Buffer,
    timestampSeconds: number | undefined,
    { atOnce }: When,
  ): { readonly stored: Buffer | null; readonly written: Promise<void> | undefined } {
    const { maxBytes, worm } = this.#settings
    const location = this.#writer.find(key)
    if (worm && location !== null) throw new KeyRefused('Namespace is protected by worm mode')
    if (maxBytes > 0 && this.#writer.catalog.dataBytes + value.length > maxBytes + (location?.valueBytes ?? 0))
      throw new NamespaceFull()
    const stored = this.#keyToStore(key, location)
    if (location !== null && this.#isUnchanged(key, value, location)) return { stored: null, written: undefined }
    const roomClass = this.#writer.shelf.pinned ? 'reserved' : 'data'
    const seconds = timestampSeconds ?? this.#nowSeconds()
    return { stored, written: this.#writer.append(stored, value, seconds, 'value', { roomClass, atOnce }) }
  }

  /** @throws KeyNotFound, KeyRefused, CacheFull, NamespaceReadOnly */
  delete(key: Buffer, timestampSeconds: number | undefined, { atOnce }: When): Promise<void> | undefined {
    if (this.#writer.find(key) === null) throw new KeyNotFound()
    if (this.#settings.worm) throw new KeyRefused('Cannot delete a key when namespace is in worm mode')
    const seconds = timestampSeconds ?? this.#nowSeconds()
    return this.#writer.append(key, nothing, seconds, 'deletion', { roomClass: 'reserved', atOnce })
  }

  get #settings(): NamespaceSettings {
    return this.#settingsNow()
  }

  /** 0-db's rules of keys. @throws KeyRefused */
  #keyToStore(key: Buffer, location: EntryLocation | null): Buffer {
    if (this.#settings.mode === 'user') {
      if (key.length === 0) throw new KeyRefused('Invalid argument, key needed')
      return key
    }
    if (key.length === 0) return encodeId(this.#writer.nextId)
    if (location === null) throw new KeyRefused('Invalid key, only update authorized')
    return key
  }

  /** 0-db's rule that a value already there is not written again. Never waits: what is not local counts as changed. */
  #isUnchanged(key: Buffer, value: Buffer, location: EntryLocation): boolean {
    if (value.length !== location.valueBytes) return false
    if (location.valueCrc >= 0 && location.valueCrc !== zdbCrc(value)) return false
    const { shelf } = this.#writer
    const segment = shelf.get(location.segmentId)
    return segment.isLocal && shelf.readSync(segment, key, location)?.equals(value) === true
  }

  #nowSeconds(): number {
    return Math.floor(this.#writer.shelf.context.clock.nowMs() / 1000)
  }
}
