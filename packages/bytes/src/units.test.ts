import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatCount, formatDuration, formatSize, GiB, KiB, MiB, parseDuration, parseSize, TiB } from './units.ts'

test('sizes are read with binary and decimal units', () => {
  assert.equal(parseSize('64MiB'), 64 * MiB)
  assert.equal(parseSize('1.5 GiB'), 1.5 * GiB)
  assert.equal(parseSize('4096'), 4096)
  assert.equal(parseSize('10MB'), 10_000_000)
  assert.equal(parseSize('2TiB'), 2 * TiB)
  assert.equal(parseSize('128KiB'), 128 * KiB)
  for (const wrong of ['', '-1', '64 mib', '1e3', 'MiB', '64M', '9999999TiB', '0.3B']) {
    assert.throws(() => parseSize(wrong), RangeError, wrong)
  }
})

test('durations need a unit', () => {
  assert.equal(parseDuration('500ms'), 500)
  assert.equal(parseDuration('10s'), 10_000)
  assert.equal(parseDuration('0.5s'), 500)
  assert.equal(parseDuration('2m'), 120_000)
  assert.equal(parseDuration('24h'), 86_400_000)
  assert.equal(parseDuration('7d'), 7 * 86_400_000)
  for (const wrong of ['', '10', '10 sec', '-5s', 's', '0.5ms'])
    assert.throws(() => parseDuration(wrong), RangeError, wrong)
})

test('people read three digits and a unit', () => {
  assert.equal(formatSize(0), '0 B')
  assert.equal(formatSize(1023), '1023 B')
  assert.equal(formatSize(64 * MiB), '64 MiB')
  assert.equal(formatSize(1.5 * GiB), '1.5 GiB')
  assert.equal(formatSize(1024 * KiB - 1), '1 MiB')
  assert.equal(formatDuration(0), '0 ms')
  assert.equal(formatDuration(1500), '1.5 s')
  assert.equal(formatDuration(120_000), '2 m')
})

test('one is singular', () => {
  assert.equal(formatCount(0, 'object'), '0 objects')
  assert.equal(formatCount(1, 'object'), '1 object')
})
