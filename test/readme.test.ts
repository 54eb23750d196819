import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const root = new URL('..', import.meta.url).pathname

test('the walks of the README lead through files that exist', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const named = [...readme.matchAll(/`((?:apps|packages|docs|test)\/[^` ]+)`|\]\((docs\/[^)]+|[A-Z]+\.md)\)/g)]
  const paths = named.map(([, quoted, linked]) => quoted ?? linked!)
  assert(paths.length > 15, `only ${paths.length} paths found`)
  assert.deepEqual(
    paths.filter(path => !existsSync(join(root, path))),
    [],
  )
})
