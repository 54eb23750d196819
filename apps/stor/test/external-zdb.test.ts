/** The contract of backends on a 0-db that is not ours: `QSFS_TEST_ZDB=/path/to/zdb node --test test/external-zdb.test.ts`.
 *  Without that variable there is nothing here to pass or to skip. */
import { after } from 'node:test'
import { backendSuite } from './backend-suite.ts'
import { zdbKind } from './zdb-kinds.ts'
import { startZdb } from './zdb-servers.ts'

const binary = process.env.QSFS_TEST_ZDB
if (binary !== undefined) {
  const running = new AsyncDisposableStack()
  after(() => running.disposeAsync())
  const adminPassword = 'open sesame'
  const [open, locked] = await Promise.all([startZdb(running, binary), startZdb(running, binary, adminPassword)])
  backendSuite(zdbKind(`${binary}`, 'unknown', { tls: null, passwordsSent: 'none' }, async () => ({ address: open })))
  backendSuite(
    zdbKind(`${binary} with passwords`, 'unknown', { tls: null, passwordsSent: 'hashed' }, async () => {
      return { address: locked, adminPassword, namespacePassword: 'mellon' }
    }),
  )
}
