// Random packets both ways between the codec of iotix (bench_mqtt_codec) and npm's mqtt-packet, compared field by field.
//
//   node compare.js PROGRAM N SEED     prints one line of JSON for each version and direction; exit code 1: they differ
'use strict'
const { spawnSync } = require('child_process')
const mqtt = require('mqtt-packet')

const [program, count, seed] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]

// mulberry32
let state = seed >>> 0
function random (n) {
  state = (state + 0x6d2b79f5) >>> 0
  let t = state
  t = Math.imul(t ^ (t >>> 15), t | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) % n
}
const pick = list => list[random(list.length)]
const maybe = n => random(n) === 0
const id = () => 1 + random(65535)
const u32 = () => random(0x10000) * 0x10000 + 1 + random(0xffff)

function length (min) {
  const n = maybe(12) ? pick([0, 1, 126, 127, 128, 129, 16380, 16384, 20000]) : random(24)
  return Math.max(n, min)
}

function text (min) {
  let s = ''
  for (let n = length(min); n > 0; n--) {
    let c
    do { c = random(maybe(4) ? 0x110000 : 0x80) } while (c === 0 || c === 0x2b || c === 0x23 || (c >= 0xd800 && c < 0xe000))
    s += String.fromCodePoint(c)
  }
  return Buffer.byteLength(s) > 65535 ? 'long' : s
}

function bytes () {
  const b = Buffer.alloc(length(0))
  for (let i = 0; i < b.length; i++) b[i] = random(256)
  return b
}

const makers = {
  byte: () => maybe(2), int16: id, int32: u32, string: () => text(1), binary: bytes, var: () => 1 + random(maybe(2) ? 300 : 268435455)
}
const types = {
  payloadFormatIndicator: 'byte', messageExpiryInterval: 'int32', contentType: 'string', responseTopic: 'string', correlationData: 'binary',
  sessionExpiryInterval: 'int32', assignedClientIdentifier: 'string', serverKeepAlive: 'int16', authenticationMethod: 'string',
  authenticationData: 'binary', responseInformation: 'string', serverReference: 'string', reasonString: 'string', receiveMaximum: 'int16',
  topicAliasMaximum: 'int16', topicAlias: 'int16', retainAvailable: 'byte', maximumPacketSize: 'int32',
  wildcardSubscriptionAvailable: 'byte', subscriptionIdentifiersAvailable: 'byte', sharedSubscriptionAvailable: 'byte'
}
const ofPacket = {
  connack: ['sessionExpiryInterval', 'receiveMaximum', 'maximumQoS', 'retainAvailable', 'maximumPacketSize', 'assignedClientIdentifier',
    'topicAliasMaximum', 'reasonString', 'userProperties', 'wildcardSubscriptionAvailable', 'subscriptionIdentifiersAvailable',
    'sharedSubscriptionAvailable', 'serverKeepAlive', 'responseInformation', 'serverReference', 'authenticationMethod', 'authenticationData'],
  publish: ['payloadFormatIndicator', 'messageExpiryInterval', 'topicAlias', 'responseTopic', 'correlationData', 'userProperties',
    'subscriptionIdentifier', 'contentType'],
  ack: ['reasonString', 'userProperties'],
  disconnect: ['reasonString', 'userProperties', 'serverReference'],
  auth: ['authenticationData', 'reasonString', 'userProperties']
}

function userProperties () {
  const all = {}
  for (let n = 1 + random(6); n > 0; n--) {
    const values = []
    for (let k = 1 + random(3); k > 0; k--) values.push(text(1))
    all[text(1)] = values
  }
  return all
}

function properties (packet) {
  const p = {}
  if (maybe(4)) return p
  for (const name of ofPacket[packet]) {
    if (!maybe(2) || (name === 'authenticationData' && packet === 'connack' && !p.authenticationMethod)) continue
    if (name === 'userProperties') p[name] = userProperties()
    else if (name === 'maximumQoS') p[name] = random(2)
    else if (name === 'subscriptionIdentifier') p[name] = Array.from({ length: 1 + random(8) }, makers.var)
    else p[name] = makers[types[name]]()
  }
  return p
}

// A packet of a server.
function make (version) {
  const v5 = version === 5
  const cmd = pick(['connack', 'publish', 'publish', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp', 'suback', 'unsuback', 'pingresp']
    .concat(v5 ? ['disconnect', 'auth'] : []))
  const packet = { cmd }
  const codes = { puback: [0, 16, 128, 131, 135, 144, 145, 151, 153], pubrel: [0, 146] }
  switch (cmd) {
    case 'connack':
      if (v5) packet.reasonCode = pick([0, 0, 0x80, 0x85, 0x87, 0x89, 0x9c, 0x9f])
      else packet.returnCode = random(6)
      packet.sessionPresent = !(packet.reasonCode || packet.returnCode) && maybe(2)
      if (v5) packet.properties = properties('connack')
      break
    case 'publish':
      packet.qos = random(3)
      packet.retain = maybe(2)
      packet.dup = packet.qos > 0 && maybe(2)
      if (packet.qos) packet.messageId = id()
      packet.payload = bytes()
      if (v5) packet.properties = properties('publish')
      packet.topic = text(v5 && packet.properties.topicAlias ? 0 : 1)
      break
    case 'puback': case 'pubrec': case 'pubrel': case 'pubcomp':
      packet.messageId = id()
      if (v5) {
        packet.reasonCode = pick(codes[cmd] || codes[cmd === 'pubrec' ? 'puback' : 'pubrel'])
        packet.properties = properties('ack')
      }
      break
    case 'suback': case 'unsuback':
      packet.messageId = id()
      if (v5) packet.properties = properties('ack')
      if (v5 || cmd === 'suback') {
        const some = cmd === 'unsuback' ? [0, 17, 128, 135, 145] : v5 ? [0, 1, 2, 128, 135, 143, 151, 158, 161, 162] : [0, 1, 2, 128]
        packet.granted = Array.from({ length: 1 + random(5) }, () => pick(some))
      }
      break
    case 'disconnect':
      packet.reasonCode = pick([0, 0x81, 0x82, 0x8b, 0x8e, 0x98, 0x9c, 0x9d, 0xa2])
      packet.properties = properties('disconnect')
      break
    case 'auth':
      packet.reasonCode = pick([0, 0x18])
      packet.properties = Object.assign({ authenticationMethod: text(1) }, properties('auth'))
  }
  return packet
}

const hex = b => Buffer.from(b).toString('hex')

function plainProperties (p) {
  const out = {}
  for (const [name, value] of Object.entries(p)) {
    if (name === 'userProperties') {
      out[name] = {}
      for (const [key, list] of Object.entries(value)) out[name][key] = [].concat(list)
    } else if (name === 'subscriptionIdentifier') out[name] = [].concat(value)
    else if (Buffer.isBuffer(value)) out[name] = hex(value)
    else out[name] = typeof value === 'boolean' ? Number(value) : value
  }
  return out
}

// What mqtt-packet has, in the form of bench_mqtt_codec.
function plain (packet, version) {
  const out = { cmd: packet.cmd }
  const take = (to, from, ...names) => names.forEach(name => { if (from[name] !== undefined) to[name] = from[name] })
  if (packet.properties && Object.keys(packet.properties).length) out.properties = plainProperties(packet.properties)
  take(out, packet, 'messageId', 'sessionPresent', 'granted', 'subscriptions', 'unsubscriptions')
  if (packet.cmd === 'publish') {
    take(out, packet, 'topic', 'qos', 'retain', 'dup')
    out.payload = hex(packet.payload)
  }
  if (packet.reasonCode !== undefined) out.code = packet.reasonCode
  if (packet.returnCode !== undefined) out.code = packet.returnCode
  if (packet.cmd === 'connect') {
    take(out, packet, 'clean', 'keepalive', 'clientId', 'username')
    out.version = packet.protocolVersion
    if (packet.password) out.password = hex(packet.password)
    if (packet.will) {
      out.will = { payload: hex(packet.will.payload) }
      take(out.will, packet.will, 'topic', 'qos', 'retain')
      if (packet.will.properties) out.will.properties = plainProperties(packet.will.properties)
    }
  }
  return out
}

function sorted (v) {
  if (Array.isArray(v)) return v.map(sorted)
  if (v && typeof v === 'object') return Object.fromEntries(Object.keys(v).sort().map(k => [k, sorted(v[k])]))
  return v
}
const canonical = v => JSON.stringify(sorted(v))

function run (args, input) {
  const r = spawnSync(program, args, { input, maxBuffer: 1 << 30 })
  if (r.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${r.error || r.stderr}`)
  return r.stdout.toString('utf8').split('\n').slice(0, -1)
}

// Compares, prints a line, tells the first difference.
function report (what, version, pairs) {
  const kinds = {}
  let bad = 0
  for (const [bytes, expected, got] of pairs) {
    kinds[expected.cmd] = (kinds[expected.cmd] || 0) + 1
    const [a, b] = [canonical(expected), canonical(got)]
    if (a !== b && bad++ === 0) {
      console.error(`${what}, version ${version}: ${bytes.slice(0, 400)}\n  expected ${a.slice(0, 2000)}\n  got      ${b.slice(0, 2000)}`)
    }
  }
  console.log(JSON.stringify({ what, version, packets: pairs.length, different: bad, kinds }))
  if (bad) process.exitCode = 1
}

for (const version of [4, 5]) {
  report('encoded by iotix', version, run(['--encode', version, count, seed]).map(line => {
    const space = line.indexOf(' ')
    const bytes = line.slice(0, space)
    let got = { error: 'nothing came' }
    const parser = mqtt.parser({ protocolVersion: version })
    parser.on('packet', p => { got = plain(p, version) })
    parser.on('error', e => { got = { error: e.message } })
    parser.parse(Buffer.from(bytes, 'hex'))
    return [bytes, JSON.parse(line.slice(space + 1)), got]
  }))
  const packets = Array.from({ length: count }, () => make(version))
  const lines = packets.map(p => hex(mqtt.generate(p, { protocolVersion: version })))
  const decoded = run(['--decode', version], lines.join('\n') + '\n')
  report('decoded by iotix', version, packets.map((p, i) => [lines[i], plain(p, version), JSON.parse(decoded[i] || '{}')]))
}
