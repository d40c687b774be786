-- The life of a Sparkplug B node, as a host sees it on the broker: birth, data in sequence, rebirth when asked for, death.
local proc = require "integration.proc"

local MODEL = [[{ "id": "node", "name": "n", "type": "sensor", "protocol": "mqtt", "encoding": "sparkplug", "telemetry": [
  { "name": "temperature", "type": "number", "precision": 1, "generator": { "type": "sequence", "start": 20 }, "intervalMs": 100 }] }]]
local SCENARIO = [[
local iotix = require "iotix"
return iotix.scenario { name = "x", duration = "3s", broker = iotix.env "BROKER",
  groups = { iotix.group { name = "plant", model = "node" } } }
]]
-- metrics { name: "Node Control/Rebirth" datatype: 11 boolean_value: true }
local REBIRTH = "\18\26\10\20Node Control/Rebirth\32\11\112\1"

local function kinds(text)
  local list = {}
  for kind, hex in text:gmatch("spBv1%.0/plant/(%u+)/plant%-1 (%x+)\n") do list[#list + 1] = { kind = kind, hex = hex } end
  return list
end

local function count(list, kind)
  local n = 0
  for _, m in ipairs(list) do n = n + (m.kind == kind and 1 or 0) end
  return n
end

-- seq is the last field of a payload: 0x18 and a varint.
local function seq(hex)
  return tonumber(hex:match("18(%x%x)$") or hex:match("18(%x%x)01$"), 16)
end

describe("a Sparkplug node", function()
  teardown(proc.cleanup)

  it("is born, counts its messages, is reborn when asked and says goodbye", function()
    local broker, dir = proc.mosquitto(), proc.dir()
    if not broker then return pending("mosquitto is not installed") end
    local sub = proc.listen(broker, "spBv1.0/#", "%t %x")
    proc.write(dir .. "/node.json", MODEL)
    local run = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", SCENARIO), "-b", broker.url, "-q" })
    assert(proc.wait(10, function() return count(kinds(sub.out()), "NDATA") >= 5 end), sub.out())
    local command = proc.write(dir .. "/command", REBIRTH)
    proc.publish(broker, "spBv1.0/plant/NCMD/plant-1", "-f", command)
    assert(proc.wait(10, function() return count(kinds(sub.out()), "NDEATH") >= 1 end), sub.out())
    local list = kinds(sub.out())
    assert.are.equal("NBIRTH", list[1].kind)
    assert.are.equal(2, count(list, "NBIRTH"))
    assert.are.equal(1, count(list, "NDEATH"))
    assert.are.equal("NDEATH", list[#list].kind)
    local expected
    for _, m in ipairs(list) do
      if m.kind == "NBIRTH" then
        assert.are.equal(0, seq(m.hex))
        expected = 1
      elseif m.kind == "NDATA" then
        assert.are.equal(expected, seq(m.hex))
        expected = expected + 1
      end
    end
    assert(run)
  end)
end)
