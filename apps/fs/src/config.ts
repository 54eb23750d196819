import { MiB } from '@qsfs/bytes/units'
import { fromCaller } from '@qsfs/config/caller'
import { duration, path, size } from '@qsfs/config/values'
import { z } from 'zod'

/** The section [fs] of qsfs.toml. */
export const fsSchema = z
  .strictObject({
    /** The server that keeps blocks and records: "unix:/path" or "host:port". */
    cachedb: z
      .string()
      .regex(/^(unix:.+|(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):\d{1,5})$/, 'is neither "unix:/path" nor "host:port"')
      .transform(typed => typed.replace(/^unix:(.+)/, (_, socket: string) => `unix:${fromCaller(socket)}`)),
    /** An empty directory. */
    mount: path(),
    /** "kernel": /dev/fuse directly, needs root or CAP_SYS_ADMIN. "fuse-native": through libfuse2's helper, for everyone,
     *  slower, and it knows no caller but its own user. */
    transport: z.enum(['kernel', 'fuse-native']).default('kernel'),
    /** How long to stay awake for the next request, in microseconds; 0 sleeps at once. Costs CPU while the mount is used. */
    poll_us: z.int().min(0).max(100_000).default(100),
    /** Memory for bytes that were written and are not stored yet. A power cut loses what no fsync covered: about this much,
     *  or a second. */
    dirty_bytes: size({ min: 4 * MiB }).default(64 * MiB),
    /** Memory for blocks that were read lately. What was needed once is kept for others. */
    block_cache_bytes: size({ min: MiB }).default(256 * MiB),
    /** A read that has no bytes by then fails with EIO. */
    read_wait: duration({ min: 100 }).default(60_000),
    /** A write that finds no room by then fails with ENOSPC or EIO. Nothing acknowledged is dropped by it. */
    write_wait: duration({ min: 100 }).default(30_000),
    /** Unix socket that answers `status`, `state` and `sync`; open to this user only. */
    control_socket: path().optional(),
    /** stor's control socket, to say how many locations the bytes of a file may lose; none: only that they are stored. */
    stor_socket: path().optional(),
    /** Others than the one who mounts may enter; modes decide what they may do. */
    allow_other: z.boolean().default(true),
    /** Most bytes that all files may hold together, holes not counted; none: what the store has. A write beyond it fails with
     *  ENOSPC: at once, or, as the kernel may hold it back, at fsync or close. Changed by a restart. */
    quota: size({ min: MiB }).optional(),
    /** Most files, directories and links together; making one more fails with ENOSPC. */
    quota_inodes: z.int().min(1).optional(),
    data_namespace: z.string().min(1, 'is empty').default('data'),
    meta_namespace: z.string().min(1, 'is empty').default('meta'),
    /** "owned": a cachedb, one filesystem at a time, fsync reaches its disk. "foreign": any server that speaks 0-db's
     *  protocol; fsync means answered, and after a lost reply the filesystem is read-only until it is mounted again. */
    store: z.enum(['owned', 'foreign']).default('owned'),
    /** File with the server's admin password (its first line), to make the namespaces. */
    admin_password_file: path().optional(),
  })
  .refine(section => section.data_namespace !== section.meta_namespace, {
    path: ['meta_namespace'],
    error: 'is the same as data_namespace',
  })
  .transform(section => ({
    cachedbAddress: section.cachedb,
    mountpoint: section.mount,
    transport: section.transport,
    pollUs: section.poll_us,
    dirtyBytesMax: section.dirty_bytes,
    blockCacheBytesMax: section.block_cache_bytes,
    readWaitMs: section.read_wait,
    writeWaitMs: section.write_wait,
    controlSocket: section.control_socket,
    storSocket: section.stor_socket,
    quotaBytesMax: section.quota ?? Number.POSITIVE_INFINITY,
    quotaInodesMax: section.quota_inodes ?? Number.POSITIVE_INFINITY,
    isOpenToOthers: section.allow_other,
    namespaces: { data: section.data_namespace, meta: section.meta_namespace },
    store: section.store,
    adminPasswordFile: section.admin_password_file,
  }))
export type FsConfig = z.output<typeof fsSchema>
