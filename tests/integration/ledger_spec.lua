-- The delivery ledger: what a broker lost, doubled and put out of order, to the message.
local proc = require "integration.proc"
local cjson = require "cjson"

local TERM, KILL, STOP = 15, 9, 19

local function scenario(text) return proc.write(proc.dir() .. "/s.lua", 'local iotix = require "iotix"\n' .. text) end

local function background(file, ...)
  local json = proc.dir() .. "/summary.json"
  local p = proc.start(proc.command { proc.program, file, "--summary-json", json, "--progress", "plain", ... })
  function p.ledger()
    assert(p.wait(40), "the run does not end: " .. p.err())
    local text = assert(proc.read(json), p.err())
    local summary = cjson.decode(text)
    local l = summary.ledger
    assert(type(l) == "table", "no ledger: " .. p.err())
    assert.are.equal(l.sent, l.received + l.lost + l.unknown)
    l.metrics, l.by_name = {}, {}
    for _, m in ipairs(summary.metrics) do
      if m.name:find("^ledger_") or m.name == "stamps_failed" then l.metrics[m.name] = (l.metrics[m.name] or 0) + (m.values.count or 0) end
    end
    for _, g in ipairs(l.groups) do l.by_name[g.name] = g end
    return l, summary
  end
  return p
end

local function check(text) return proc.run { "--check", scenario(text) } end

local function bad_broker(...)
  local p = proc.start(proc.command { "python3", proc.root .. "/tests/integration/ledger_broker.py", ... })
  local port = assert(proc.wait(10, function() return p.out():match("port (%d+)") end), p.err())
  p.url = "mqtt://127.0.0.1:" .. port
  function p.said()
    p.signal(TERM)
    assert(p.wait(10))
    return cjson.decode((p.out():match("{.*}")))
  end
  return p
end

local PUBLISH = [[
local g = iotix.group { name = "w", count = %d, qos = %d, behaviour = function(dev)
  assert(dev:connect())
  for _ in dev:every("10ms") do dev:publish("t", { a = 1 }) end
end }
return iotix.scenario { name = "s", duration = "%s", groups = { g }, ledger = %s, thresholds = %s }
]]

describe("the ledger", function()
  teardown(proc.cleanup)

  it("has the figures of a broker that drops, doubles and swaps, and listens before the first device connects", function()
    for qos = 0, 1 do
      local broker = bad_broker("suback=0.4", "drop=23", "double=17", "swap=13")
      local p = background(scenario(PUBLISH:format(10, qos, "1s", '{ stamp = { payload = "seq" }, late = "300ms" }',
        '{ ledger_lost = "count == 0", ledger_loss = "rate < 10%" }')), "-b", broker.url)
      local l, summary = p.ledger()
      local said = broker.said()
      assert.are.equal(0, said.early) -- nothing came before the SUBACK, which took its time
      assert.is_true(said.sent > 500 and said.dropped > 20 and said.doubled > 20 and said.swapped > 20, cjson.encode(said))
      assert.are.equal(said.sent, l.sent)
      assert.are.equal(said.doubled, l.duplicated)
      assert.are.equal(said.swapped, l.reordered)
      assert.are.equal(said.dropped, l.lost)
      assert.are.equal(0, l.unknown)
      assert.is_true(l.complete)
      assert.are.equal(l.lost, l.metrics.ledger_lost)
      assert.are.equal(l.sent, l.metrics.ledger_sent)
      assert.are.equal("w", l.worst[1].group)
      assert.is_true(l.worst[1].lost >= l.worst[2].lost and l.worst[1].device >= 1 and l.worst[1].device <= 10)
      assert.are.equal(99, summary.verdict.exitCode) -- one of the two thresholds failed
      assert.is_truthy(p.out():find("ledger%s+%d+[%d,]* sent · %d+ lost · %d+ duplicated · %d+ reordered"), p.out())
      assert.is_truthy(p.out():find("most of w %d+"), p.out())
    end
  end)

  it("waits at the end for what is on its way, and counts it as late", function()
    local broker = bad_broker("delay=0.3")
    local l = background(scenario(PUBLISH:format(5, 1, "800ms", '{ stamp = "topic", late = "250ms" }', "{}")), "-b", broker.url).ledger()
    assert.is_true(l.received > 100, "received " .. l.received)
    assert.are.equal(l.received, l.late)
    local other = background(scenario(PUBLISH:format(5, 1, "500ms", '{ stamp = "topic", late = "5s" }', "{}")), "-b", broker.url)
    l = other.ledger()
    assert.is_true(l.sent > 50)
    assert.are.equal(l.sent, l.received)
    assert.are.equal(0, l.late + l.lost + l.duplicated + l.reordered)
  end)

  it("counts on many shards, in a property, the topic and the payload, and says what it cannot account for", function()
    local broker = proc.mosquitto()
    if not broker then return pending("mosquitto is not installed") end
    local p = background(scenario([[
local five = iotix.mqtt { version = "5", broker = iotix.env("BROKER") }
local function work(dev)
  assert(dev:connect())
  for n in dev:every("20ms") do
    dev:publish("t", { n = n }, { qos = n % 3 })
    if n == 5 and dev.group == "c" then dev:publish("t", "no object") end
    if n == 6 and dev.group == "b" then dev:publish("/elsewhere/x", "y") end
  end
end
return iotix.scenario { name = "s", duration = "1500ms", ledger = true, groups = {
  iotix.group { name = "a", count = 7, connection = five, behaviour = work },
  iotix.group { name = "b", count = 5, connection = five, behaviour = work, stamp = "topic" },
  iotix.group { name = "c", count = 6, connection = five, behaviour = work, stamp = { payload = "seq" } },
} }]]), "--shards", "3", "-e", "BROKER=" .. broker.url)
    local l = p.ledger()
    assert.are.equal(0, p.code(), p.err())
    assert.are.equal(l.sent, l.received)
    assert.are.equal(0, l.lost + l.unknown + l.duplicated + l.reordered + l.late)
    for _, name in ipairs { "a", "b", "c" } do assert.is_true(l.by_name[name].sent > 100, name .. " " .. l.by_name[name].sent) end
    assert.are.equal(11, l.metrics.stamps_failed)
    assert.is_truthy(p.err():find('group "c" publishes a payload that is no JSON object', 1, true), p.err())
    assert.is_truthy(p.err():find('group "b" publishes to "elsewhere/x', 1, true), p.err())
  end)

  it("loses nothing of QoS 1 when the broker is killed and comes back, and calls unknown what it could not hear", function()
    local broker = proc.mosquitto()
    if not broker then return pending("mosquitto is not installed") end
    local p = background(scenario([[
local function work(dev)
  assert(dev:connect())
  for n in dev:every("10ms") do dev:publish("t", { n = n }) end
end
local c = iotix.mqtt { broker = iotix.env("BROKER"), reconnect = { initial = "200ms", max = "300ms", jitter = false } }
return iotix.scenario { name = "s", duration = "3s", connection = c, ledger = { stamp = "topic", late = "500ms" }, groups = {
  iotix.group { name = "q0", count = 10, qos = 0, behaviour = work },
  iotix.group { name = "q1", count = 10, qos = 1, behaviour = work },
} }]]), "-e", "BROKER=" .. broker.url)
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    broker.signal(STOP) -- what is written to it now, nobody reads
    local then_s = proc.now() + 0.3
    proc.wait(2, function() return proc.now() >= then_s end)
    broker.signal(KILL)
    assert(broker.wait(5))
    local again = proc.start(broker.line)
    local l = p.ledger()
    local q0, q1 = l.by_name.q0, l.by_name.q1
    assert.is_nil(again.code())
    assert.are.equal(1, l.interruptions)
    assert.is_false(l.complete)
    assert.are.equal(0, q1.lost)
    assert.is_true(q1.received > 500 and q0.received > 500, q1.received .. " and " .. q0.received)
    assert.is_true(q0.lost + q0.unknown > 0, "nothing of QoS 0 went by")
  end)

  it("knows a shard that began anew", function()
    local p = background(scenario(PUBLISH:format(12, 1, "2s", '{ stamp = "topic", late = "300ms" }', "{}")), "-b", "embedded", "--shards", "2")
    assert(proc.wait(10, function() return p.err():find("phase=hold") end), p.err())
    local shard
    for _, child in ipairs(proc.descendants(p.pid)) do
      if (proc.read("/proc/" .. child .. "/comm") or ""):find("shard") then shard = child end
    end
    proc.shell("kill -9 " .. shard)
    local l = p.ledger()
    assert.are.equal(1, l.lostShards)
    assert.is_false(l.complete)
    assert.are.equal(0, l.lost + l.duplicated + l.reordered + l.unknown)
    assert.is_true(l.received > 1000, "received " .. l.received)
    assert.is_truthy(p.out():find("what 1 lost shard sent last is not known", 1, true), p.out())
  end)

  it("ends a run whose broker refuses its subscription before a device connects", function()
    local broker = bad_broker("refuse")
    local p = background(scenario(PUBLISH:format(2, 0, "5s", '{ stamp = "topic" }', "{}")), "-b", broker.url)
    assert.are.equal(111, p.wait(20))
    assert.is_truthy((p.err() .. p.out()):find("refuses a subscription", 1, true), p.err() .. p.out())
    assert.are.equal(0, broker.said().early)
  end)

  it("refuses what it could not account for", function()
    local text = [[
local g = iotix.group { name = "pumps", %s behaviour = function(dev) dev:connect() end }
return iotix.scenario { name = "s", duration = "1s", groups = { g }, ledger = %s }]]
    for _, case in ipairs {
      { "", "true", "carry no number: give stamp" },
      { 'connection = iotix.http {},', '{ stamp = "topic" }', 'group "pumps" speaks http' },
      { "", '{ stamp = "topic", groups = { "pump" } }', 'there is no group "pump"; valid: pumps; did you mean "pumps"?' },
      { "", '{ stamp = "topic", topics = { "a/#", "a/+/b" } }', '"a/#" and "a/+/b" overlap' },
      { "", '{ stamp = "topic", topics = { "a#" } }', "topics" },
      { "", '{ stam = "topic" }', 'did you mean "stamp"?' },
      { "", '{ stamp = "topic", late = "-1s" }', "late" },
      { "", '{ stamp = "header" }', '"property", "topic" or' },
      { "", '{ stamp = "property" }', 'version = "5"' },
    } do
      local r = check(text:format(case[1], case[2]))
      assert.is_true(r.code ~= 0, case[2])
      assert.is_truthy((r.err .. r.out):find(case[3], 1, true), case[2] .. ": " .. r.err .. r.out)
    end
    local r = check(text:format('stamp = "topic",', "true"))
    assert.are.equal(0, r.code, r.err .. r.out)
  end)
end)
