-- The same devices against brokers that others wrote (peers/broker.lua): QoS, retained messages, 64 KB, wills, reconnects, sessions, and what
-- version 5 has beside that. What went over the wire is judged by tshark. Rows of docs/reference/protocols.md are made from the same
-- matrix (docs/generate_protocols.lua).
local capture = require "integration.capture"
local matrix = require "integration.matrix"
local peers = require "integration.peers"
local proc = require "integration.proc"

local function run(broker, environment)
  local arguments = { proc.root .. "/tests/integration/peers/broker.lua", "-b", broker.url }
  for name, value in pairs(environment) do
    arguments[#arguments + 1] = "-e"
    arguments[#arguments + 1] = name .. "=" .. value
  end
  return proc.run(arguments, 60)
end

-- Packets with a topic alias that went to the broker and that came from it.
local function aliases(wire, port)
  local function count(side)
    local r = proc.shell(proc.command { "tshark", "-r", wire.path, "-d", "tcp.port==" .. port .. ",mqtt", "-Y",
      "mqtt.property_id == 0x23 && mqtt.msgtype == 3 && tcp." .. side .. " == " .. port }, 60)
    assert(r.code == 0, r.err)
    return select(2, r.out:gsub("\n", ""))
  end
  return count "dstport", count "srcport"
end

-- QoS 2 to a broker that answers PUBACK: the message fails with what happened, the connection is made anew.
local function protocol_error(broker)
  local r = proc.run({ proc.write(proc.dir() .. "/s.lua", [[
    local iotix = require "iotix"
    local g = iotix.group { name = "g", connection = iotix.mqtt { reconnect = { initial = "10ms", max = "10ms" } }, behaviour = function(dev)
      assert(dev:connect())
      local ok, why, code = dev:publish("downgraded", "x", { qos = 2, wait = true })
      dev:log("SEEN " .. tostring(ok) .. " " .. tostring(code) .. ": " .. tostring(why))
      dev:log("THEN " .. tostring(dev:publish("downgraded", "x", { qos = 1, wait = true })))
    end }
    return iotix.scenario { name = "s", duration = "500ms", groups = { g }, thresholds = { reconnects = "count == 1" } }]]), "-b", broker.url }, 30)
  assert.equal(0, r.code, r.out .. r.err)
  assert.is_truthy(r.err:find("SEEN nil protocol: [^\n]*the broker answered PUBACK to a message of QoS 2"), r.err)
  assert.is_truthy(r.err:find("THEN true", 1, true), r.err)
end

describe("brokers that others wrote", function()
  teardown(proc.cleanup)

  local broker -- serves the rows of one peer, which stand together
  for i, row in ipairs(matrix.brokers) do
    local another = (matrix.brokers[i + 1] or {}).start ~= row.start
    it(row.test, function()
      broker = broker or peers[row.start]()
      if not broker then return pending(row.peer .. " is not here") end
      finally(function()
        if not another and not broker.code() then return end
        if broker.after then broker.after() end
        broker = nil
        proc.cleanup()
      end)
      local wire = capture.start { [broker.port] = "mqtt" }
      row.environment.DONE = "done-" .. row.environment.VERSION:gsub("%.", "-") -- dots mean something to RabbitMQ and NATS
      local r = run(broker, row.environment)
      assert.equal(0, r.code, r.out .. r.err .. broker.out():sub(-2000) .. broker.err():sub(-2000))
      if row.downgrades then protocol_error(broker) end
      wire:clean(100)
      if row.aliases then
        local to, from = aliases(wire, broker.port)
        local used = to > 0 and from > 0 and "both" or to > 0 and "device" or from > 0 and "broker" or "nobody"
        assert.equal(row.aliases, used, to .. " aliases to the broker, " .. from .. " from it")
      end
    end)
  end

  it("are not asked for less by a name that no step has", function()
    local r = run({ url = "mqtt://127.0.0.1:1" }, { WITHOUT = "wil" })
    assert.are_not.equal(0, r.code, r.out .. r.err)
    assert.is_truthy((r.out .. r.err):find("there is no step wil", 1, true), r.out .. r.err)
  end)
end)
