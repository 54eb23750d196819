import assert from 'node:assert'
import { type House, until } from './house.ts'
import type { Misbehaviour } from './misbehaviour.ts'

/** Some backends misbehave while objects are stored and read, then mend their ways.
 *  @param storing what becomes of a store meanwhile; with as many bad backends as may be missing either is right, as long as
 *  what is acknowledged is there */
export function misbehaving(
  names: readonly string[],
  misbehaviour: Misbehaviour,
  { storing = 'either' }: { readonly storing?: 'succeeds' | 'fails' | 'either' } = {},
) {
  return async (house: House) => {
    await house.mustStore('/before')
    const proxies = names.map(name => house.proxies.get(name)!)
    for (const proxy of proxies) {
      proxy.behaviour = misbehaviour()
      // One that hangs does so from its connection on.
      proxy.cut()
    }
    const error = await house.store('/during')
    if (storing === 'succeeds') assert.strictEqual(error, null)
    if (storing === 'fails') assert.ok(error !== null)
    // Whoever stores segments tries again.
    if (error !== null) assert.ok(error.retryable, error.message)
    await house.assertNothingLost('after stores while backends misbehave')
    const { objects, repairer } = await house.runtime.store()
    // Its first checksum becomes part of the record: who writes hears every member, who reads not the late ones.
    await until(() =>
      objects.check({ file: '/before' }).then(
        ({ found }) => found,
        () => false,
      ),
    )
    const deep = await repairer.inspect(await objects.idOf({ file: '/before' }))
    house.note(`check --deep ${JSON.stringify(deep)}`)
    const meanwhile = await house.told()

    house.heal()
    await house.mustStore('/during')
    await until(async () => (await house.status()).backends.every(({ health }) => health === 'up'))
    await house.assertMendable()
    house.note(meanwhile)
  }
}
