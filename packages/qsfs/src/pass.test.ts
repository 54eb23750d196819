import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { appNames } from './apps.ts'

const main = join(import.meta.dirname, 'main.ts')

test('each daemon says what can be asked of it, and 2 to what cannot', () => {
  for (const app of appNames) {
    const run = (word: string) => spawnSync(process.execPath, [main, app, word], { encoding: 'utf8' })
    const help = run('--help')
    assert.equal(help.status, 0, help.stderr)
    assert.match(help.stdout, new RegExp(`^usage: ${app} `))
    const wrong = run('--nonsense')
    assert.equal(wrong.status, 2)
    assert.match(wrong.stderr, /nonsense/)
  }
})
