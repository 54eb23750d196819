import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { silentLog } from './log.ts'
import { Metrics } from './metrics.ts'

test('metrics render as Prometheus text', () => {
  const metrics = new Metrics()
  const stored = metrics.counter('stor_objects_total', 'Objects stored.')
  const calls = metrics.counter('stor_calls_total', 'Calls by verb.', ['verb', 'result'])
  const room = metrics.gauge('cache_bytes', 'Bytes in the cache.')
  const latency = metrics.histogram('read_seconds', 'How long reads took.', [0.01, 0.1], ['kind'])
  stored.add()
  stored.add(2)
  calls.add(1, ['store', 'o"k\n\\'])
  room.set(12.5)
  for (const value of [0.01, 0.05, 3]) latency.observe(value, ['cold'])
  assert.equal(
    metrics.render(),
    `# HELP stor_objects_total Objects stored.
# TYPE stor_objects_total counter
stor_objects_total 3
# HELP stor_calls_total Calls by verb.
# TYPE stor_calls_total counter
stor_calls_total{verb="store",result="o\\"k\\n\\\\"} 1
# HELP cache_bytes Bytes in the cache.
# TYPE cache_bytes gauge
cache_bytes 12.5
# HELP read_seconds How long reads took.
# TYPE read_seconds histogram
read_seconds_bucket{kind="cold",le="0.01"} 1
read_seconds_bucket{kind="cold",le="0.1"} 2
read_seconds_bucket{kind="cold",le="+Inf"} 3
read_seconds_sum{kind="cold"} 3.06
read_seconds_count{kind="cold"} 3
`,
  )
  assert.equal(stored.value(), 3)
})

test('metrics misdeclared or mislabelled are bugs', () => {
  const metrics = new Metrics()
  const calls = metrics.counter('calls_total', 'Calls.', ['verb'])
  assert.throws(() => metrics.gauge('calls_total', 'Again.'), /declared twice/)
  assert.throws(() => metrics.gauge('Bad-Name', 'x'), /no metric name/)
  assert.throws(() => metrics.histogram('h', 'x', [2, 1]), /do not ascend/)
  assert.throws(() => calls.add(1), /has the labels verb/)
})

test('events are JSON lines on stderr, with the fields of their log and of errors', () => {
  const script = `
    import { createLog } from ${JSON.stringify(import.meta.resolve('./log.ts'))}
    const log = createLog({ name: 'sample', level: 'info' })
    log.child({ namespace: 'data' }).event('segment.closed', { segmentId: 7 })
    log.debug('not.seen')
    log.warn('read.failed', { error: Object.assign(new Error('outer', { cause: new Error('inner') }), { code: 'EIO' }) })
    process.exit(0)`
  const { stderr, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.equal(stdout, '')
  const [closed, failed, ...rest] = stderr
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  assert.equal(rest.length, 0)
  assert.deepEqual(
    [closed.name, closed.event, closed.namespace, closed.segmentId],
    ['sample', 'segment.closed', 'data', 7],
  )
  assert.deepEqual([failed.error.message, failed.error.code, failed.error.cause.message], ['outer', 'EIO', 'inner'])
})

test('the silent log is its own child', () => {
  assert.equal(silentLog.child({ a: 1 }), silentLog)
  silentLog.event('nothing.heard')
})
