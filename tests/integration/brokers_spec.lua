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

describe("brokers that others wrote", function()
  after_each(proc.cleanup)

  for _, row in ipairs(matrix.brokers) do
    it(row.test, function()
      local broker = peers[row.start]()
      if not broker then return pending(row.peer .. " is not here") end
      finally(function() if broker.after then broker.after() end end)
      local wire = capture.start { [broker.port] = "mqtt" }
      local r = run(broker, row.environment)
      assert.equal(0, r.code, r.out .. r.err .. broker.out():sub(-2000) .. broker.err():sub(-2000))
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
