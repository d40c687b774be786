-- Whole runs of iotix-run against the embedded broker and against a mosquitto of the test.
local proc = require "integration.proc"
local cjson = require "cjson"

local function summary(path)
  local text = assert(proc.read(path), "no summary was written")
  return cjson.decode(text)
end

local SCENARIO = [[
local iotix = require "iotix"
local g = iotix.group {
  name = "lamps", count = %d, qos = %d,
  behaviour = function(dev)
    local walk = iotix.gen.walk { start = 20, step = 1, min = 0, max = 40 }
    assert(dev:connect())
    for n in dev:every("%s", { phase = "%s" }) do
      dev:publish("value", { n = n, v = walk() })
      if n == %d then break end
    end
    dev:wait("message")
  end,
}
return iotix.scenario { name = "spec", duration = "%s", broker = iotix.env("BROKER", "embedded"), groups = { g } }
]]

describe("a run", function()
  teardown(proc.cleanup)

  it("of the quickstart passes on the embedded broker and leaves nothing behind", function()
    local file = proc.dir() .. "/s.json"
    local r = proc.run({ proc.root .. "/scenarios/quickstart.lua", "--summary-json", file }, 60)
    assert.are.equal(0, r.code, r.err .. r.out)
    local last = r.out:gsub("%s+$", ""):match("[^\n]*$")
    assert.is_truthy(last:find("PASS"), "the verdict is the last line of stdout: " .. last)
    assert.is_falsy(r.out:find("\27"), "no colour when stdout is a file")
    local s = summary(file)
    assert.are.equal(1, s.schema)
    assert.is_true(s.verdict.pass)
    assert.are.equal(220, s.totals.devices.started)
    assert.is_true(s.totals.messages.sent > 1000)
    assert.are.equal(s.totals.messages.sent, s.totals.messages.acked) -- QoS 1 throughout, drained at the end
    assert.is_true(#s.checks >= 2)
    assert.is_true(s.generator.trustworthy)
  end)

  it("gives the same payloads on 1 and on 3 shards with the same seed", function()
    local captures = {}
    for _, shards in ipairs { 1, 3 } do
      local broker = proc.mosquitto()
      if not broker then return pending("mosquitto is not installed") end
      local sub = proc.listen(broker, "#")
      local scenario = proc.write(proc.dir() .. "/s.lua", SCENARIO:format(30, 1, "100ms", "50ms", 10, "4s"))
      local r = proc.run({ scenario, "-b", broker.url, "--seed", "7", "--shards", shards, "-q" }, 30)
      assert.are.equal(0, r.code, r.err .. r.out)
      local lines = {}
      assert(proc.wait(5, function()
        local n = 0
        for _ in sub.out():gmatch("lamps/") do n = n + 1 end
        return n == 300
      end), "300 messages arrive, got " .. select(2, sub.out():gsub("lamps/", "")))
      for line in sub.out():gmatch("[^\n]+") do
        if line:find("^lamps/") then lines[#lines + 1] = line end
      end
      table.sort(lines)
      captures[#captures + 1] = table.concat(lines, "\n")
    end
    assert.are.equal(captures[1], captures[2])
  end)

  it("of a partition runs its part of the devices", function()
    local scenario = proc.write(proc.dir() .. "/s.lua", SCENARIO:format(10, 0, "200ms", "50ms", 3, "2s"))
    local total = 0
    for part = 1, 3 do
      local file = proc.dir() .. "/s.json"
      local r = proc.run({ scenario, "--partition", part .. "/3", "--summary-json", file, "-q" }, 30)
      assert.are.equal(0, r.code, r.err .. r.out)
      total = total + summary(file).totals.devices.started
    end
    assert.are.equal(10, total)
  end)

  it("fails with 99 when a threshold fails, and with 110 when an expectation does", function()
    local scenario = proc.write(proc.dir() .. "/s.lua", SCENARIO:format(2, 0, "100ms", "50ms", 3, "1500ms"))
    local r = proc.run({ scenario, "--threshold", "messages_sent: count > 1000", "-q" }, 30)
    assert.are.equal(99, r.code, r.err .. r.out)
    assert.is_truthy(r.out:find("FAIL", 1, true))
    local test = proc.write(proc.dir() .. "/t.lua", [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", behaviour = function(dev) assert(dev:connect()) dev:publish("a", "1") dev:sleep("20s") end }
      return iotix.scenario { name = "t", groups = { g }, test = function(run)
        run:group("g"):wait("online", 1, "5s")
        iotix.expect.message { topic = "never/#", within = "300ms" }
      end }
    ]])
    r = proc.run({ test, "-q" }, 30)
    assert.are.equal(110, r.code, r.err .. r.out)
    assert.is_truthy(r.out:find("never/#", 1, true))
  end)

  it("never passes when nothing was published", function()
    local scenario = proc.write(proc.dir() .. "/s.lua", [[
      local iotix = require "iotix"
      return iotix.scenario { name = "quiet", duration = "1s", groups = {
        iotix.group { name = "g", behaviour = function(dev) assert(dev:connect()) dev:sleep("10s") end } } }
    ]])
    local r = proc.run({ scenario, "-q" }, 30)
    assert.are.equal(111, r.code, r.err .. r.out)
  end)
end)
