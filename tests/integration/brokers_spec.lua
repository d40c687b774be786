-- The same devices against brokers that others wrote: QoS, retained messages, 64 KB, reconnects, sessions. What went over the
-- wire is judged by tshark. Rows of docs/reference/protocols.md are made from `peers` (docs/generate_protocols.lua).
local matrix = require "integration.matrix"
local peers = require "integration.peers"
local proc = require "integration.proc"

local function run(broker, environment)
  local arguments = { proc.root .. "/tests/integration/peers/broker.lua", "-b", broker.url, "--duration", 3 * proc.patience .. "s" }
  for name, value in pairs(environment) do
    arguments[#arguments + 1] = "-e"
    arguments[#arguments + 1] = name .. "=" .. value
  end
  return proc.run(arguments, 60)
end

describe("brokers that others wrote", function()
  after_each(proc.cleanup)

  for _, row in ipairs(matrix.brokers) do
    it(row.test, function()
      local broker = peers[row.start]()
      if not broker then return pending(row.peer .. " is not here") end
      finally(function() if broker.after then broker.after() end end)
      local capture = peers.capture(broker.port)
      local r = run(broker, row.environment)
      assert.equal(0, r.code, r.out .. r.err)
      local _, done = r.err:gsub("%] done", "")
      assert.equal(row.environment.SESSIONS == "no" and 10 or 12, done, r.err)
      if not capture then return end
      local packets, malformed = peers.judge(capture.stop(), broker.port)
      assert.is_true(packets > 100, "tshark saw only " .. packets .. " packets")
      assert.equal("", malformed)
    end)
  end
end)
