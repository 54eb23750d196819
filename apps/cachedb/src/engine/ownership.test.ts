import { ok, throws } from 'node:assert/strict'
import { test } from 'node:test'
import { OwnerLost, Refused } from '../errors.ts'
import { Ownership, parseToken } from './ownership.ts'

const claim = (token: string) => parseToken(Buffer.from(token))

test('a new owner takes over for good', () => {
  const ownership = new Ownership()
  ownership.take(claim('a'))
  ownership.take(claim('a'))
  ok(ownership.isCurrent(claim('a')))
  ownership.take(claim('b'))
  ok(!ownership.isCurrent(claim('a')))
  throws(() => ownership.take(claim('a')), OwnerLost)
  throws(() => ownership.take(claim('a.7')), OwnerLost)
  ok(ownership.isCurrent(claim('b')))
})

test('a higher attempt fences off the same owner; a lower one is late', () => {
  const ownership = new Ownership()
  ownership.take(claim('fs-1.1'))
  ownership.take(claim('fs-1.2'))
  ok(!ownership.isCurrent(claim('fs-1.1')))
  throws(() => ownership.take(claim('fs-1.1')), OwnerLost)
  ownership.take(claim('fs-1.2'))
  ok(ownership.isCurrent(claim('fs-1.2')))
})

test('tokens', () => {
  for (const bad of ['', ' ', 'a b', '\x00', 'x'.repeat(129)]) throws(() => claim(bad), Refused)
  ok(claim('a.b').attempt === 0 && claim('a.b').ownerId === 'a.b')
  ok(claim('a.b.12').attempt === 12 && claim('a.b.12').ownerId === 'a.b')
})
