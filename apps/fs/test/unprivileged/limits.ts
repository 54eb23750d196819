import type { Family } from '../posix-families.ts'

interface Limit {
  /** `fails`: run, and has to fail. `root`: not run, on any filesystem it takes root. `slow`: not run, it takes too long. */
  readonly kind: 'fails' | 'root' | 'slow'
  readonly why: string
}

const needsRoot = (why: string): Limit => ({ kind: 'root', why })
const fails = (why: string): Limit => ({ kind: 'fails', why })
const renameFlags = fails('rename with flags')
const fallocate = fails('fallocate')
const temporaryFiles = fails('O_TMPFILE')

/** The checks of our POSIX suite that a user without privileges cannot pass through fuse-native, by family. docs/posix.md tells it
 *  to people. */
export const limits: Readonly<Partial<Record<Family, Readonly<Record<string, Limit>>>>> = {
  attributes: {
    modes_and_owners: needsRoot('chown to others'),
    privileges_dropped: needsRoot('chown to others'),
    group_of_directory: needsRoot('chown to others'),
    permissions: needsRoot('becomes another user'),
    times: fails('milliseconds, none before 1970'),
    birth: fails('statx: no time of birth'),
  },
  copies: {
    no_space: { kind: 'slow', why: 'copy_file_range: nothing is shared, 640 MiB are written' },
    sparse: { kind: 'slow', why: 'SEEK_DATA: `cp` reads the 8 GiB of a hole' },
  },
  holes: {
    allocated: fallocate,
    punched: fallocate,
    zeroed: fallocate,
    punched_at_random: fallocate,
    seeked: fails('SEEK_DATA and SEEK_HOLE'),
  },
  names: {
    names: fails('names that are not UTF-8'),
    symbolic_links: fails('targets that are not UTF-8'),
    listing: fails('readdir without types'),
    special_files: needsRoot('mknod of devices'),
  },
  overlay: { upper_directory: needsRoot('mount') },
  renames: {
    across_directories: renameFlags,
    no_replace: renameFlags,
    exchange: renameFlags,
    whiteout: renameFlags,
  },
  unlinked: {
    removed_directory_open: fails('readdir of a directory that is gone'),
    temporary: temporaryFiles,
    temporary_named: temporaryFiles,
    temporary_for_ever: temporaryFiles,
  },
  xattrs: {
    attributes: needsRoot('trusted attributes'),
    trusted_is_for_root: needsRoot('trusted attributes'),
    capabilities_go_with_a_write: needsRoot('security attributes'),
    access_lists: needsRoot('becomes another user'),
    default_lists: temporaryFiles,
  },
}
