import { GiB, KiB, MiB } from '@qsfs/bytes/units'
import { duration, listenAddress, path, size } from '@qsfs/config/values'
import { hybridGroups, knownGroups } from '@qsfs/resp/tls/groups'
import { z } from 'zod'

/** The section [cachedb] of qsfs.toml. Each option says what it means for what is on disk when the power fails. */
const schema = z
  .strictObject({
    /** Where segments lie, one directory per namespace. The only copy of everything not yet stored elsewhere: a disk that
     *  lies about syncs loses acknowledged data, and so does a directory on a temporary filesystem. */
    data_dir: path(),
    /** Index root of 0-db (its `--index`), when `data_dir` is its data root: mode, quota, password, public and worm of each
     *  namespace are taken from there at the first start, and places behind damage are found by it. Read only; not needed
     *  again once every namespace was opened. */
    zdb_index_dir: path().optional(),
    /** Unix socket, open to this user only. */
    socket: path().optional(),
    /** TCP address as "host:port". Passwords and data go over it in clear. */
    listen: listenAddress('::').optional(),
    /** TCP address as "host:port" for TLS 1.3, beside or instead of the others. Clients need no certificate: the passwords decide. */
    tls_listen: listenAddress('::').optional(),
    /** The server's certificate, its chain behind it, as PEM. Clients pin its SHA-256, which the log says at each start. */
    tls_cert: path().optional(),
    /** Its key as PEM, without a passphrase; refused when others than its owner and group can read it. */
    tls_key: path().optional(),
    /** Key exchanges that are taken, the preferred first. By default those only that a recording of today's traffic and tomorrow's
     *  quantum computer do not break; "X25519", "P-256" and "P-384" let older clients in. */
    tls_groups: z
      .array(z.enum(knownGroups))
      .min(1, 'is empty')
      .default([...hybridGroups]),
    /** File with the admin password (its first line). Without it every client may do everything. */
    admin_password_file: path().optional(),
    /** Whether the namespace `default` can be written only after `SELECT default <admin password>`; AUTH alone does not do.
     *  Everybody may still read it. Needs admin_password_file. */
    protect: z.boolean().default(false),
    /** Quota of live value bytes of the namespace `default`; 0 = none. Other namespaces get theirs by NSSET. */
    default_maxsize: size().default(0),
    /** Kind of keys of new namespaces: "user", "sequential", or "mixed" (user, and NSSET may change it while fresh). */
    mode: z.enum(['user', 'sequential', 'mixed']).default('mixed'),
    /** A segment that would grow past this is closed and handed to the store hook. Smaller: less that exists only here,
     *  more objects. A segment leaves for the store only when it is closed. */
    segment_bytes: size({ min: 512 * KiB, max: 2 * GiB }).default(32 * MiB),
    /** An open segment that holds something is closed after this time as well, so that what is in it leaves for the store;
     *  0 = only when it is full. Short times make many small objects. */
    rotate_after: duration().default(0),
    /** Limit for data segments on the local disk; 0 = none. Only stored segments are removed to hold it: when nothing can
     *  be removed, writes are refused, data never is. */
    cache_bytes: size().default(0),
    /** Namespaces that always stay on the local disk. */
    pinned_namespaces: z.array(z.string()).default(['meta']),
    /** When appends reach the disk. A killed process loses nothing that was answered, in any of them. A power cut takes a tail of
     *  each namespace, never a middle:
     *  "on-request": what was written since the last FSYNC, or the last segment that was closed.
     *  "interval": what was written in the last second, and while its sync took.
     *  "always": nothing that was answered; SET and DEL are answered when they are on disk, and all that come at once share a sync.
     *  A sync that fails is not tried again: what it covered is written elsewhere, or the namespace turns read-only. */
    fsync: z.enum(['on-request', 'always', 'interval']).default('on-request'),
    /** Program run at events, with 0-db's arguments. A segment counts as stored only when it printed `stored <object id>`. */
    hook: path().optional(),
    /** A hook that runs longer is killed and counts as failed; it is tried again. Nothing is lost by it. */
    hook_timeout: duration({ min: 1000 }).default(10 * 60_000),
    /** The same for `missing-data`, which readers wait for; a process that not even SIGKILL ends is given up 5 s later. */
    retrieve_timeout: duration({ min: 1000 }).default(10 * 60_000),
    /** The same for `close`, which the end of the server waits for, and for `namespace-closing` and `crash`, which outlive it. */
    close_timeout: duration({ min: 1000 }).default(30_000),
    /** Store hooks at once; the others wait, and their segments stay on the local disk. */
    store_hooks_max: z.int().min(1).max(64).default(4),
    /** Retrieve hooks at once; readers of other absent segments wait. */
    retrieve_hooks_max: z.int().min(1).max(64).default(2),
    /** A closed segment on the local disk is rewritten when less than this share of it is needed: what lives is appended again,
     *  the old one leaves the disk, and the store is told to delete its object. 0: never; then space comes back only when
     *  everything in a segment was deleted. */
    compact_below: z.number().min(0).max(0.9).default(0.5),
    /** Disk traffic of that, reads and writes together, each second; 0 = no limit. */
    compact_bytes_per_second: size().default(32 * MiB),
    /** Namespaces of which nothing ever leaves, dead or alive, but by FLUSH and NSDEL: their HISTORY stays whole, and 0-db's tools can
     *  make its index from their files. */
    never_compacted_namespaces: z.array(z.string()).default([]),
    /** Memory for values that were read lately and not found in the page cache. */
    value_cache_bytes: size().default(64 * MiB),
    /** stor's control socket, passed to hooks as QSFS_STOR_SOCKET. */
    stor_socket: path().optional(),
    /** How long to stay awake for the next command, in microseconds; 0 sleeps at once. It answers a client that sends one command
     *  at a time sooner, and costs CPU while it is used. */
    poll_us: z.int().min(0).max(100_000).default(0),
    /** Connections at once; more are refused with an error. */
    max_clients: z.int().min(1).max(60_000).default(1000),
    /** Replies that one client has not taken yet. Beyond it that client's commands wait; nobody else's do. A client that sends a whole
     *  pipeline before it reads anything, as hiredis and redis-benchmark do, hangs when the replies are more than this. */
    output_bytes: size({ min: 16 * KiB }).default(16 * MiB),
    /** The same for what MIRROR and WAIT send unasked: a client that leaves more unread is dropped, with a line in the log. */
    mirror_bytes: size({ min: 1 * MiB }).default(32 * MiB),
    /** A client that takes nothing of its replies for so long is dropped. */
    unread_timeout: duration({ min: 1000 }).default(60_000),
    /** A client that sends nothing for so long is dropped; not while a command of its runs, nor in WAIT or MIRROR. 0 = never. */
    idle_timeout: duration().default(0),
    /** Where `GET /metrics` is answered, in Prometheus text over plain HTTP, as "host:port"; ":port" is of this machine only. Whoever
     *  reaches it sees numbers: no names of namespaces, no keys, no values. */
    metrics_listen: listenAddress('127.0.0.1').optional(),
    /** Whether an admin's STOP ends the server. */
    allow_stop: z.boolean().default(false),
  })
  .check(context => {
    const { socket, listen, tls_listen, tls_cert, tls_key, protect, admin_password_file } = context.value
    if (protect && admin_password_file === undefined)
      context.issues.push({ code: 'custom', input: context.value, message: 'protect needs admin_password_file' })
    if (socket === undefined && listen === undefined && tls_listen === undefined)
      context.issues.push({ code: 'custom', input: context.value, message: 'needs socket, listen or tls_listen' })
    for (const [key, value] of Object.entries({ tls_cert, tls_key }))
      if ((value === undefined) !== (tls_listen === undefined)) {
        const message = tls_listen === undefined ? `${key} needs tls_listen` : `tls_listen needs ${key}`
        context.issues.push({ code: 'custom', input: context.value, message })
      }
  })
  .transform(section => ({
    dataDirectory: section.data_dir,
    zdbIndexDirectory: section.zdb_index_dir,
    socketPath: section.socket,
    listen: section.listen,
    tls:
      section.tls_listen === undefined
        ? null
        : {
            listen: section.tls_listen,
            certificatePath: section.tls_cert!,
            keyPath: section.tls_key!,
            groups: section.tls_groups,
          },
    adminPasswordFile: section.admin_password_file,
    isProtected: section.protect,
    defaultBytesMax: section.default_maxsize,
    mode: section.mode,
    segmentBytesMax: section.segment_bytes,
    rotateAfterMs: section.rotate_after,
    cacheBytesMax: section.cache_bytes,
    pinnedNamespaces: section.pinned_namespaces,
    fsync: section.fsync,
    hookPath: section.hook,
    hookTimeoutMs: section.hook_timeout,
    retrieveTimeoutMs: section.retrieve_timeout,
    closeTimeoutMs: section.close_timeout,
    storeHooksMax: section.store_hooks_max,
    retrieveHooksMax: section.retrieve_hooks_max,
    compaction: {
      below: section.compact_below,
      bytesPerSecond: section.compact_bytes_per_second,
      excluded: new Set(section.never_compacted_namespaces),
    },
    valueCacheBytesMax: section.value_cache_bytes,
    storSocket: section.stor_socket,
    pollUs: section.poll_us,
    clientsMax: section.max_clients,
    clientLimits: {
      outputBytesMax: section.output_bytes,
      pushBytesMax: section.mirror_bytes,
      unreadMs: section.unread_timeout,
      idleMs: section.idle_timeout,
    },
    metricsListen: section.metrics_listen,
    isStopAllowed: section.allow_stop,
  }))

export const cachedbSchema = schema
export type CachedbConfig = z.output<typeof schema>
