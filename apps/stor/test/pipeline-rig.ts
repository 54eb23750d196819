import { randomBytes } from 'node:crypto'
import { type Clock, systemClock } from '@qsfs/concurrency/clock'
import { KeyRing } from '@qsfs/crypto/keys'
import { silentLog } from '@qsfs/telemetry/log'
import type { Backend } from '../src/backend/backend.ts'
import { MemoryBackend } from '../src/backend/memory-backend.ts'
import { decodeRecord, encodeRecord, type ObjectRecord } from '../src/metadata/object-record.ts'
import type { FramePool } from '../src/pipeline/frame-pool.ts'
import type { PieceFault, ReadContext } from '../src/pipeline/object-reader.ts'
import { ReadLatencies } from '../src/pipeline/read-latency.ts'
import { type NewRecord, type StoreContext, type StoreRequest, storeObject } from '../src/pipeline/store.ts'

/** The pipeline with everything around it in memory: backends, keys, records. */
export class PipelineRig {
  readonly pool: FramePool
  readonly keys = KeyRing.fresh(randomBytes)
  readonly down = new Set<string>()
  readonly faults: PieceFault[] = []
  readonly latencies = new ReadLatencies()
  clock: Clock = systemClock
  backends: Backend[]

  constructor(pool: FramePool, backends: Backend[] = Array.from({ length: 6 }, (_, i) => new MemoryBackend(`b${i}`))) {
    this.pool = pool
    this.backends = backends
  }

  get storeContext(): StoreContext {
    const { pool, keys } = this
    const isDown = (name: string) => this.down.has(name)
    return { pool, keys, clock: systemClock, random: randomBytes, log: silentLog, isDown }
  }

  get readContext(): ReadContext {
    const { pool, keys } = this
    return {
      ...{ pool, keys, clock: this.clock, latencies: this.latencies },
      backend: name => this.backends.find(backend => backend.name === name),
      isDown: name => this.down.has(name),
      onFault: fault => this.faults.push(fault),
    }
  }

  /** Stores with small frames, so that small files have many; the record takes the way through its bytes. */
  async store(
    path: string,
    options: Partial<StoreRequest> = {},
    commit: (record: NewRecord) => Promise<void> = async () => undefined,
    signal?: AbortSignal,
  ): Promise<ObjectRecord> {
    const request: StoreRequest = {
      ...{
        path,
        name: path,
        backends: this.backends,
        dataShards: 4,
        writeQuorum: 5,
        frameBytes: 64 * 1024,
        epoch: 1,
        compress: true,
        verifyFrames: true,
      },
      ...options,
    }
    const record = await storeObject(request, this.storeContext, commit, { signal })
    return decodeRecord(
      encodeRecord({ ...record, memberSet: 1, generation: { epoch: 1, counter: 1, attempt: randomBytes(16) } }),
    )
  }
}
