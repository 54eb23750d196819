import type { Secret } from '@qsfs/crypto/secret'
import { StorError } from '../errors.ts'
import type { MasterSecret } from '../master-secret.ts'
import type { Identity } from './identity.ts'

/** Changes the master secret: `<file>.next` is made; the superblock is written for both; the file takes the place of the
 *  one before; the superblock is written for the new one alone. A crash after any step leaves a store that opens with the
 *  secret in the file, and `completeRotation` does the rest.
 *  @throws StorError */
export async function rotateMaster(identity: Identity): Promise<void> {
  const { master, log } = identity.tools
  const { passphrase } = identity.superblock
  const old = await present(master, identity)
  const next = await master.makeNext(passphrase)
  if (next.expose().equals(old.expose())) throw new StorError('refused', 'the next master secret is the one in force')
  await identity.change({}, [next, old])
  await master.adoptNext()
  await identity.change({}, [next])
  log.event('master_secret.rotated', { counter: identity.superblock.counter })
}

/** A new root key, under which records and object keys are sealed from now on. What older ones sealed is sealed anew by
 *  `RewrapWalk`; the old root keys stay in the superblock, for shard headers keep what they wrapped.
 *  @throws StorError */
export async function rotateRoot(identity: Identity): Promise<void> {
  const { master, log } = identity.tools
  await identity.growKeys([await present(master, identity)])
  log.event('root_key.rotated', { rootId: identity.superblock.keys.newestRootId })
}

/** At a start: goes on with a change of the master that was interrupted. Where the next secret is gone, and so cannot have
 *  been the only one, the one at hand stays.
 *  @throws StorError */
export async function completeRotation(identity: Identity): Promise<void> {
  const { master, log } = identity.tools
  const { passphrase } = identity.superblock
  const next = await master.readNext(passphrase)
  // A key file that was made and not yet told to anybody, or a rotation in its middle: both go on. A new passphrase that
  // somebody wrote waits for the command.
  if (next !== null && (identity.isShared || passphrase === null)) return rotateMaster(identity)
  if (!identity.isShared) return
  await identity.change({}, [await present(master, identity)])
  log.event('master_secret.rotated', { counter: identity.superblock.counter })
}

async function present(master: MasterSecret, { superblock }: Identity): Promise<Secret> {
  const secret = await master.read(superblock.passphrase)
  if (secret === null) throw new StorError('wrong-key', 'the master secret is not here any more')
  return secret
}
