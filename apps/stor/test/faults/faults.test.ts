/** What goes wrong, how it is played, and the words by which `stor status`, the metrics and the log tell of it. In each row no
 *  wrong byte is returned and nothing acknowledged is lost; the plays assert that. */
import assert from 'node:assert'
import { after, before, describe, test } from 'node:test'
import {
  bitFlipped,
  cutShort,
  gone,
  grown,
  hurtAtRest,
  ofNeighbour,
  ofOtherObject,
  replayed,
  swappedFrames,
} from './at-rest.ts'
import { diesAtEachStep } from './crashes.ts'
import { changedUnderLoad, garbage, killed } from './daemons.ts'
import { House } from './house.ts'
import { misbehaving } from './live.ts'
import {
  answersNumbers,
  cutsValues,
  deniesAll,
  dropsPieces,
  dropsRecords,
  fillsUp,
  flaps,
  hangs,
  hangsInReply,
  hangsOnWrite,
  keepsGarbage,
  mixesUp,
  refusesAll,
  remembersTheOld,
  repeatsIds,
} from './misbehaviour.ts'
import { targetFull, twice, wrongSecret } from './processes.ts'
import {
  foreignRecords,
  lostRecords,
  olderRecords,
  recordsHurt,
  recordsMended,
  recordsOfAnotherMember,
  rottenRecords,
  swappedSlots,
  tornRecords,
} from './records.ts'
import { startCachedb } from './upstream.ts'

/** Hanging backends are waited for so long. */
const IMPATIENT = { backend_timeout: '1s', connect_timeout: '1s' }

/** One that is dead is not waited for. */
const MORTAL = { backend_timeout: '250ms', down_after: '50ms', health_check_interval: '60ms' }
const SMALL = { minimal_shards: 2, expected_shards: 3, redundant_groups: 0 }

const running = new AsyncDisposableStack()
after(() => running.disposeAsync())
const upstream = await startCachedb(running)

interface Row {
  readonly fault: string
  readonly play: (house: House) => Promise<void>
  /** By `stor status` (`status.…`), the metrics, and the log. */
  readonly told: readonly RegExp[]
}

const faulty = (kind: string) => new RegExp(`qsfs_stor_faulty_pieces_total{kind="${kind}"} `)
const badShard = [/^status\.repair\.scrub\.badShardCount = /m, /^shard\.bad /m]
const rebuilt = /^status\.repair\.rebuiltShardCount = /m

const atRest: readonly Row[] = [
  { fault: 'a shard cut short', play: hurtAtRest(cutShort), told: [faulty('corrupt'), ...badShard, rebuilt] },
  { fault: 'a shard with bytes added', play: hurtAtRest(grown), told: [...badShard, rebuilt] },
  { fault: 'a shard that is gone', play: hurtAtRest(gone), told: [faulty('missing'), ...badShard, rebuilt] },
  {
    fault: 'bits flipped in the headers of shards',
    play: hurtAtRest(bitFlipped('shard header', "shard header's MAC"), 'scrub'),
    told: [...badShard, rebuilt],
  },
  {
    fault: 'bits flipped in pieces: header, body, MAC',
    play: hurtAtRest(bitFlipped('piece header', 'body of a piece', "piece's MAC")),
    told: [...badShard, rebuilt],
  },
  {
    fault: 'pieces of a shard swapped',
    play: hurtAtRest(swappedFrames),
    told: [faulty('wrong'), ...badShard, rebuilt],
  },
  {
    fault: "another shard's piece twice",
    play: hurtAtRest(ofNeighbour),
    told: [faulty('wrong'), ...badShard, rebuilt],
  },
  { fault: "another object's piece", play: hurtAtRest(ofOtherObject), told: [faulty('wrong'), ...badShard, rebuilt] },
  { fault: 'an older generation replayed', play: hurtAtRest(replayed), told: [faulty('wrong'), ...badShard, rebuilt] },
]

const one = ['data2']
const two = ['data2', 'data5']

/** What a deep check says of the shard on a backend, whole lines of JSON. */
const deeply = (state: string) => new RegExp(`check --deep .*"backend":"data2"[^}]*"state":"${state}"`)
const failed = (operation: string, outcome: string) =>
  new RegExp(`requests_total{backend="data2",backend_type="data",operation="${operation}",outcome="${outcome}"} `)
const thin = /^status\.thinObjectCount = [1-9]|^object\.stored .*"shardsConfirmed":5}/m

const live: readonly Row[] = [
  {
    fault: 'a data backend says yes and keeps nothing',
    play: misbehaving(one, dropsPieces),
    told: [failed('get', 'missing'), thin],
  },
  { fault: 'two of them', play: misbehaving(two, dropsPieces, { storing: 'fails' }), told: [failed('get', 'missing')] },
  { fault: 'a data backend keeps garbage', play: misbehaving(one, keepsGarbage), told: [thin] },
  { fault: 'a data backend gives one id to all pieces', play: misbehaving(one, repeatsIds), told: [thin] },
  {
    fault: 'a data backend fills up in the middle',
    play: misbehaving(one, fillsUp),
    told: [failed('put', 'full'), thin],
  },
  { fault: 'a data backend flaps', play: misbehaving(one, flaps), told: [failed('[a-z]+', 'unavailable')] },
  {
    fault: 'a data backend hangs when written to',
    play: misbehaving(one, hangsOnWrite),
    told: [failed('put', 'unavailable'), thin],
  },
  {
    fault: 'a data backend hangs from its connection on',
    play: misbehaving(one, hangs),
    told: [failed('[a-z]+', 'unavailable'), thin],
  },
  { fault: 'a data backend hangs in an answer', play: misbehaving(one, hangsInReply), told: [deeply('unavailable')] },
  {
    fault: 'a data backend answers errors only',
    play: misbehaving(one, refusesAll),
    told: [deeply('unavailable'), thin],
  },
  { fault: "a data backend answers other objects' shards", play: misbehaving(one, mixesUp), told: [deeply('bad')] },
  { fault: 'a data backend answers values cut short', play: misbehaving(one, cutsValues), told: [deeply('bad')] },
  { fault: 'a data backend denies what it holds', play: misbehaving(one, deniesAll), told: [deeply('bad')] },
  { fault: 'a data backend answers numbers for values', play: misbehaving(one, answersNumbers), told: [deeply('bad')] },
]

const damagedRecord = [/^record_shard\.damaged /m, /^status\.backends\.[0-5]\.errorCount = /m]
const missingRecord = /^record_shard\.missing .*"backend":"meta\d"|^record\.caught_up /m
const caughtUp = /^metadata_backends\.caught_up /m

const records: readonly Row[] = [
  { fault: 'records torn', play: recordsMended(tornRecords), told: [...damagedRecord, caughtUp] },
  { fault: 'records rotten', play: recordsMended(rottenRecords), told: [...damagedRecord, caughtUp] },
  { fault: 'records lost', play: recordsHurt(lostRecords), told: [missingRecord] },
  { fault: 'records as they were a generation ago', play: recordsHurt(olderRecords), told: [missingRecord] },
  { fault: 'records in the wrong slot', play: recordsMended(swappedSlots), told: [...damagedRecord, caughtUp] },
  { fault: 'records of another object', play: recordsMended(foreignRecords), told: [...damagedRecord, caughtUp] },
  {
    fault: 'records of another member',
    play: recordsMended(recordsOfAnotherMember),
    told: [...damagedRecord, caughtUp],
  },
  { fault: 'four of six records rotten', play: recordsHurt(rottenRecords), told: damagedRecord },
]

const members = ['meta2', 'meta5']
const failedRecord = (outcome: string) =>
  new RegExp(`requests_total{backend="meta[25]",backend_type="meta",operation="[a-z]+",outcome="${outcome}"} `)
const metadata: readonly Row[] = [
  {
    fault: 'metadata backends say yes and keep nothing',
    play: misbehaving(members, dropsRecords),
    told: [missingRecord],
  },
  { fault: 'metadata backends keep garbage', play: misbehaving(members, keepsGarbage), told: damagedRecord },
  {
    fault: 'metadata backends answer what they held once',
    play: misbehaving(members, remembersTheOld),
    told: damagedRecord,
  },
  { fault: "metadata backends answer other keys' records", play: misbehaving(members, mixesUp), told: damagedRecord },
  { fault: 'metadata backends answer records cut short', play: misbehaving(members, cutsValues), told: damagedRecord },
  {
    fault: 'metadata backends deny what they hold',
    play: misbehaving(members, deniesAll),
    told: [/^status\.fillingBackends\.\d = meta/m],
  },
  {
    fault: 'metadata backends answer errors only',
    play: misbehaving(members, refusesAll),
    told: [failedRecord('refused')],
  },
  { fault: 'metadata backends hang', play: misbehaving(members, hangs), told: [failedRecord('unavailable')] },
  { fault: 'metadata backends flap', play: misbehaving(members, flaps), told: [failedRecord('unavailable')] },
]

const swept = /^status\.repair\.orphans\.removedCount = [1-9]/m
const even: readonly Row[] = [
  { fault: 'stor dies at each second step of a store', play: diesAtEachStep('even', '/new'), told: [swept] },
]
const odd: readonly Row[] = [
  {
    fault: 'stor dies at each other step of replacing a file',
    play: diesAtEachStep('odd', '/replaced'),
    told: [swept],
  },
]

const alone: readonly Row[] = [
  { fault: 'two daemons on one store', play: twice, told: [/^status\.otherDaemonSeenMs = \d/m, /^store\.shared /m] },
  {
    fault: 'another master secret, and a damaged superblock',
    play: wrongSecret,
    told: [/master secret/, /superblock/],
  },
  { fault: 'the disk of a target is full', play: targetFull, told: [/no room|ENOSPC|no space/] },
]
const daemons: readonly Row[] = [
  {
    fault: 'garbage on the control socket',
    play: garbage,
    told: [/"code":"malformed"/, /"code":"usage"/, /"unknown-verb"/],
  },
  {
    fault: 'the config changes under load',
    play: changedUnderLoad,
    told: [
      /"config\.reloaded".*data backend data7 is new/,
      /"metadata_backends\.changed".*"joining":"meta7"/,
      /"metadata_backend\.filled".*"backend":"meta8"/,
    ],
  },
]
const kills: readonly Row[] = [
  { fault: 'kill -9 at a request of a store', play: killed, told: [/"orphans":{"removedCount":0,"youngCount":\d+/] },
]

const bad = { servers: (name: string) => /[25]$/.test(name), upstream }
const three = { count: 3 }
const served = { servers: () => true, upstream, ...three }

interface Street {
  readonly open: () => Promise<House>
  readonly rows: readonly Row[]
  readonly isDaemon?: boolean
}

/** Rows are played one after the other in one house; houses stand beside each other. */
const houses: Readonly<Record<string, Street>> = {
  'directories that rot': { open: () => House.make(), rows: atRest },
  'data that misbehaves': { open: () => House.make(IMPATIENT, bad), rows: live },
  'metadata that misbehaves': { open: () => House.make(IMPATIENT, bad), rows: metadata },
  'daemons on directories': { open: () => House.make(), rows: daemons, isDaemon: true },
  'daemons on servers': { open: () => House.make({ ...SMALL, ...IMPATIENT }, served), rows: kills, isDaemon: true },
  'records that rot': { open: () => House.make({ health_check_interval: '80ms' }), rows: records },
  'a stor that dies': { open: () => House.make({ ...SMALL, ...MORTAL }, three), rows: even },
  // Where all members are needed to decode, a record written over in place is gone in the middle of it.
  'another that dies': { open: () => House.make({ ...SMALL, ...MORTAL }, { ...three, recordShards: 3 }), rows: odd },
  'a stor among others': { open: () => House.make(IMPATIENT), rows: alone },
}

describe('faults', { concurrency: 3 }, () => {
  for (const [name, { open, rows, isDaemon }] of Object.entries(houses)) {
    describe(name, { concurrency: 1 }, () => {
      let house: House
      before(async () => {
        house = await open()
        if (!isDaemon) await house.start()
      })
      after(() => house[Symbol.asyncDispose]())
      for (const { fault, play, told } of rows) {
        test(fault, async t => {
          t.diagnostic(`seed ${house.random.seed}`)
          await house.mark()
          await play(house)
          const text = await house.told()
          for (const word of told) assert.ok(word.test(text), `${word} is not in\n${text}`)
          if (!isDaemon) await house.tidy()
        })
      }
    })
  }
})
