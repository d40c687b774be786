-- The MQTT codec beside one that others wrote: npm's mqtt-packet reads what iotix encodes and iotix reads what it encodes, for both
-- versions, thousands of random packets each, compared field by field (mqtt_packet/compare.js).
local proc = require "integration.proc"
local json = require "cjson"

local program = proc.program:gsub("bin/iotix%-run$", "bench/bench_mqtt_codec")
local from, to = proc.root .. "/tests/integration/mqtt_packet", proc.root .. "/build/peers/mqtt_packet"
local PACKETS, SEED = 3000, 20260801

-- Installs the pinned package into the build directory; false: there is no npm or no registry.
local function installed()
  if proc.shell("node --version && npm --version").code ~= 0 then return false, "node and npm are missing" end
  local r = proc.shell(([[set -e
    cmp -s FROM/package-lock.json TO/package-lock.json && [ -d TO/node_modules/mqtt-packet ] || { rm -rf TO; mkdir -p TO; fresh=1; }
    cp FROM/* TO/
    [ -z "$fresh" ] || { cd TO && npm ci --no-audit --no-fund --loglevel=error; } || { rm -rf TO; exit 1; }]])
    :gsub("FROM", (proc.quote(from):gsub("%%", "%%%%"))):gsub("TO", (proc.quote(to):gsub("%%", "%%%%"))), 120)
  return r.code == 0, "npm's mqtt-packet cannot be installed: " .. r.err
end

describe("the MQTT codec and npm's mqtt-packet", function()
  teardown(proc.cleanup)

  it("agree on random packets both ways", function()
    local ok, why = installed()
    if not ok then
      assert(not proc.ci, why)
      return pending(why)
    end
    local r = proc.shell(proc.command { "node", to .. "/compare.js", program, PACKETS, SEED }, 120)
    assert.are.equal(0, r.code, r.err .. r.out)
    local seen = {}
    for line in r.out:gmatch("[^\n]+") do
      local row = json.decode(line)
      seen[row.what .. " " .. row.version] = row
    end
    for _, version in ipairs { 4, 5 } do
      for _, what in ipairs { "encoded by iotix", "decoded by iotix" } do
        local row = seen[what .. " " .. version]
        assert.is_table(row, what .. " " .. version)
        assert.are.equal(PACKETS, row.packets)
        assert.are.equal(0, row.different)
      end
    end
    -- Every type that each side sends was there.
    local sent, got = seen["encoded by iotix 5"].kinds, seen["decoded by iotix 5"].kinds
    for _, cmd in ipairs { "connect", "publish", "puback", "pubrec", "pubrel", "pubcomp", "subscribe", "unsubscribe", "pingreq", "disconnect",
      "auth" } do
      assert.is_true((sent[cmd] or 0) > 100, cmd)
    end
    for _, cmd in ipairs { "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp", "suback", "unsuback", "pingresp", "disconnect", "auth" } do
      assert.is_true((got[cmd] or 0) > 100, cmd)
    end
  end)
end)
