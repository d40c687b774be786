-- Runs in virtual time: the same bytes whatever the number of shards, formats, refusals, a full disk, an interruption.
local proc = require "integration.proc"
local cjson = require "cjson"

-- Everything that could make an order depend on the neighbours or on the CPU: several tasks of a device that wake at the
-- same time, random numbers, jitter, acknowledgements that are waited for, reconnects, timers that fall due together.
local BUSY = [[
local iotix, gen = require "iotix", require "iotix.gen"
local busy = iotix.group {
  name = "busy", count = 23, qos = 1, launch = { strategy = "linear", rate = 7 },
  behaviour = function(dev)
    local walk = gen.walk { start = 21, step = 0.2, min = 15, max = 30 }
    dev:on("connect", function() dev:publish("hello", { index = dev.index }) end)
    assert(dev:connect())
    for task = 1, 3 do
      iotix.spawn(function()
        for n = 1, 40 do
          dev:sleep("10s")
          dev:publish("together", { task = task, n = n, r = math.random() })
        end
      end)
    end
    for n in dev:every("7s", { jitter = "500ms" }) do
      dev:publish("value", { t = walk(), n = n, at = iotix.now and iotix.now() or nil })
      if n % 10 == 0 then
        assert(dev:publish("acked", { n = n }, { wait = true }))
        dev:publish("after", "text, \"quoted\"")
      end
      if n == 30 then
        dev:disconnect()
        dev:wait("disconnect")
        assert(dev:connect())
      end
    end
  end,
}
local plain = iotix.group { name = "plain", model = "temperature-sensor", count = 11, launch = { strategy = "exponential" } }
return iotix.scenario { name = "busy", duration = "10m", broker = iotix.env("BROKER", "embedded"), groups = { busy, plain } }
]]

-- Tasks that are interrupted in the middle by the limit of a slice, while others of the device wait.
local SLOW = [[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 8, behaviour = function(dev)
  assert(dev:connect())
  for task = 1, 3 do
    iotix.spawn(function()
      for n = 1, 6 do
        dev:sleep("1s")
        dev:publish("before", { task = task, n = n })
        local x = 0
        for i = 1, 400000 * task do x = x + i % 7 end
        dev:publish("after", { task = task, n = n, x = x })
      end
    end)
  end
  while true do dev:sleep("1h") end
end }
return iotix.scenario { name = "slow", duration = "10s", groups = { g } }
]]

local QUIET = [[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 3, behaviour = function(dev)
  assert(dev:connect())
  for n in dev:every("1s", { phase = "0s" }) do dev:publish("v", %s) end
end }
return iotix.scenario { name = "quiet", duration = %s, groups = { g } %s }
]]

local function scenario(text) return proc.write(proc.dir() .. "/s.lua", text) end

local function run(file, args, limit)
  local list = { file, "--virtual", "--from", "2026-01-01", "--model-dir", proc.root .. "/models" }
  for _, a in ipairs(args) do list[#list + 1] = a end
  return proc.run(list, limit or 60)
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

describe("a run in virtual time", function()
  teardown(proc.cleanup)

  it("writes the same bytes on any number of shards, in every format", function()
    local file = scenario(BUSY)
    for _, seed in ipairs { 1, 7, 99 } do
      local first
      for _, shards in ipairs { 1, 2, 3 } do
        local dir = proc.dir()
        local r = run(file, { "--seed", seed, "--shards", shards, "-q", "--sink", "ndjson=" .. dir .. "/a", "--sink", "csv=" .. dir .. "/b",
          "--sink", "influx=" .. dir .. "/c" })
        assert.are.equal(0, r.code, r.err .. r.out)
        local got = { proc.read(dir .. "/a"), proc.read(dir .. "/b"), proc.read(dir .. "/c") }
        assert.is_true(#lines(got[1]) > 5000)
        first = first or got
        for i = 1, 3 do assert.is_true(first[i] == got[i], "output " .. i .. " differs on " .. shards .. " shards with seed " .. seed) end
        local left = io.popen("ls -A " .. dir .. " | wc -l"):read("*n")
        assert.are.equal(3, left, "no temporary file is left")
      end
    end
  end)

  it("keeps the order though tasks are interrupted", function()
    local file, seen = scenario(SLOW), {}
    for i, shards in ipairs { 1, 3, 1 } do
      local out = proc.dir() .. "/a"
      local r = run(file, { "--shards", shards, "-q", "--sink", "csv=" .. out })
      assert.are.equal(0, r.code, r.err .. r.out)
      seen[i] = proc.read(out)
      assert.are.equal(1 + 8 * 3 * 6 * 2, #lines(seen[i]))
    end
    assert.is_true(seen[1] == seen[2] and seen[1] == seen[3])
  end)

  it("gives other values with another seed, and the same again with the same", function()
    local file, seen = scenario(BUSY), {}
    for i, seed in ipairs { 3, 4, 3 } do
      local out = proc.dir() .. "/a"
      assert.are.equal(0, run(file, { "--seed", seed, "-q", "--for", "2m", "--sink", "ndjson=" .. out }).code)
      seen[i] = proc.read(out)
    end
    assert.is_true(seen[1] == seen[3])
    assert.is_false(seen[1] == seen[2])
  end)

  it("comes to its end with every encoding", function()
    for _, encoding in ipairs { "json", "cbor", "binary", "csv", "influx", "sparkplug" } do
      local dir = proc.dir()
      proc.write(dir .. "/m.json", string.format([[{ "id": "m", "name": "m", "type": "sensor", "protocol": "mqtt", "encoding": "%s",
        "telemetry": [{ "name": "v", "type": "integer", "intervalMs": 1000, "generator": { "type": "constant", "value": 1 } }] }]], encoding))
      local file = proc.write(dir .. "/s.lua", [[
local iotix = require "iotix"
return iotix.scenario { name = "s", duration = "3s", groups = { iotix.group { name = "g", model = "m", count = 2 } } }
]])
      local r = run(file, { "-q", "--sink", "ndjson=" .. dir .. "/out" })
      assert.are.equal(0, r.code, encoding .. ": " .. r.err)
      assert.is_truthy(#lines(proc.read(dir .. "/out")) >= 6, encoding)
    end
  end)

  it("writes records in order of time, each of them whole", function()
    local out = proc.dir() .. "/a"
    local r = run(scenario(BUSY), { "--seed", 1, "--for", "5m", "--sink", "ndjson=" .. out })
    assert.are.equal(0, r.code, r.err .. r.out)
    local last, groups = "", {}
    for _, line in ipairs(lines(proc.read(out))) do
      local record = cjson.decode(line)
      assert.is_true(record.time >= last)
      assert.is_truthy(record.time:find("^2026%-01%-01T00:0[0-4]:%d%d%.%d%d%dZ$"), record.time)
      assert.is_truthy(record.topic:find(record.device, 1, true))
      last, groups[record.group] = record.time, true
    end
    assert.is_true(groups.busy and groups.plain)
    assert.is_truthy(r.err:find("2026-01-01T00:00:00.000Z → 2026-01-01T00:05:00.000Z", 1, true), r.err)
    assert.is_truthy(r.out:find("5m00s of virtual time", 1, true), r.out)
  end)

  it("says in the summary what it wrote", function()
    local dir = proc.dir()
    local r = run(scenario(QUIET:format('"text"', '"1m"', "")), { "-q", "--sink", "ndjson=" .. dir .. "/a", "--sink", "influx=" .. dir .. "/c",
      "--summary-json", dir .. "/s.json", "--threshold", "messages_sent: count == 180", "--threshold", "publish_latency: p95 < 1ms" })
    assert.are.equal(0, r.code, r.err .. r.out)
    local s = cjson.decode(proc.read(dir .. "/s.json"))
    assert.are.equal("2026-01-01T00:00:00.000Z", s.run.virtual.from)
    assert.are.equal(60, s.run.virtual.reachedS)
    assert.are.equal(60, s.run.measuredS)
    assert.are.equal(180, s.totals.messages.sent)
    assert.are.equal(3, s.totals.messages.sentPerS)
    local a, c = s.run.virtual.outputs[1], s.run.virtual.outputs[2]
    assert.are.same({ "ndjson", 180, 0, #proc.read(dir .. "/a"), true }, { a.format, a.records, a.skipped, a.bytes, a.complete })
    assert.are.same({ "influx", 0, 180, 0 }, { c.format, c.records, c.skipped, c.bytes }) -- a text has no line there
    assert.is_truthy(r.out:find("180 messages have no line in this format", 1, true), r.out)
  end)

  it("writes to stdout, with the summary on stderr", function()
    local r = run(scenario(QUIET:format("{ n = n }", '"5s"', "")), { "--sink", "csv=-" })
    assert.are.equal(0, r.code, r.err)
    local list = lines(r.out)
    assert.are.equal("time,group,device,topic,payload", list[1])
    assert.are.equal('2026-01-01T00:00:00.002Z,g,g-1,g/g-1/v,"{""n"":1}"', (list[2]:gsub("00%.%d%d%dZ", "00.002Z")))
    assert.are.equal(16, #list)
    assert.is_truthy(r.err:find("PASS", 1, true))
  end)

  it("ends when its reader has gone, without an error", function()
    local file = scenario(QUIET:format("{ n = n }", '"3650d"', ""))
    local r = proc.shell(proc.command { proc.program, file, "--virtual", "--from", "2026-01-01", "--sink", "ndjson=-" } ..
      " | head -n 2", 30)
    assert.are.equal(2, #lines(r.out))
    r = proc.shell("{ " .. proc.command { proc.program, file, "--virtual", "--from", "2026-01-01", "--sink", "ndjson=-", "-q" } ..
      "; echo code $? >&2; } | head -n 2", 30)
    assert.is_truthy(r.err:find("code 0", 1, true), r.err)
    assert.is_truthy(r.err:find("incomplete", 1, true), r.err)
  end)

  it("does not run the test, and says so", function()
    local out = proc.dir() .. "/a"
    local r = run(scenario(QUIET:format("1", '"5s"', ", test = function(run) error('not now') end")), { "--sink", "ndjson=" .. out })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.err:find("the test is not run", 1, true), r.err)
    assert.is_truthy(r.out:find("not run: there is nothing to observe", 1, true), r.out)
  end)

  it("refuses a network target, and says what to do", function()
    local file, out = scenario(BUSY), "ndjson=" .. proc.dir() .. "/a"
    local r = run(file, { "--sink", out, "-b", "mqtt://user:secret@example.test" })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find("a live broker cannot be accelerated: leave out --broker mqtt://example.test", 1, true), r.err)
    assert.is_falsy(r.err:find("secret", 1, true))
    r = run(file, { "--sink", out, "-e", "BROKER=mqtt://example.test" })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find("add --broker embedded", 1, true), r.err)
    r = run(file, { "--sink", out, "-q", "--for", "10s", "-e", "BROKER=mqtt://example.test", "-b", "embedded" })
    assert.are.equal(0, r.code, r.err)
    local own = scenario(QUIET:format("1", '"5s"', ""):gsub("count = 3,", 'count = 3, connection = require("iotix").mqtt { broker = "mqtt://example.test" },'))
    r = run(own, { "--sink", out })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find('s.lua:2: group "g" speaks to mqtt://example.test', 1, true), r.err)
  end)

  it("names the option that is missing or has no effect", function()
    local file = scenario(QUIET:format("1", '"5s"', ""))
    local cases = {
      { { file, "--virtual" }, "--virtual needs to know where the messages go" },
      { { file, "--for", "7d" }, "--for has no effect without --virtual" },
      { { file, "--sink", "ndjson=-" }, "stdout is for --virtual" },
      { { file, "--virtual", "--sink", "x.ndjson" }, "is not TYPE=TARGET" },
      { { file, "--virtual", "--sink", "njson=x" }, 'did you mean "ndjson"' },
      { { file, "--virtual", "--sink", "csv=x", "--sink", "ndjson=x" }, "two sinks write x" },
      { { file, "--virtual", "--sink", "csv=-", "--summary-json", "-" }, "cannot both be stdout" },
      { { file, "--virtual", "--sink", "csv=/nonexistent/x" }, "/nonexistent" },
      { { file, "--virtual", "--sink", "csv=/tmp" }, "is a directory" },
      { { file, "--virtual", "--sink", "csv=-", "--from", "yesterday" }, "--from" },
      { { file, "--virtual", "--sink", "csv=-", "--for", "1h", "-d", "2h" }, "both say how long to run" },
    }
    for _, c in ipairs(cases) do
      local r = proc.run(c[1], 20)
      assert.are.equal(2, r.code, table.concat(c[1], " ") .. "\n" .. r.err)
      assert.is_truthy(r.err:find(c[2], 1, true), r.err)
    end
    local endless = scenario(QUIET:format("1", "nil", ", test = function(run) run:sleep('1s') end"))
    local r = run(endless, { "--sink", "csv=-" })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find("give it --for 7d", 1, true), r.err)
    assert.are.equal(0, run(endless, { "-q", "--for", "5s", "--sink", "csv=-" }).code)
  end)

  it("ends with 109 when an output cannot be written, and leaves what there is", function()
    for _, shards in ipairs { 1, 2 } do
      local out = proc.dir() .. "/a"
      -- A limit on the size of files is a full disk that a test can have.
      local r = proc.shell("trap '' XFSZ; ulimit -f 200; " .. proc.command { proc.program, scenario(QUIET:format("{ n = n }", '"2h"', "")), "--virtual",
        "--from", "2026-01-01", "--shards", shards, "--sink", "ndjson=" .. out }, 60)
      assert.are.equal(109, r.code, r.err .. r.out)
      assert.is_truthy((r.err .. r.out):find("cannot write", 1, true), r.err .. r.out)
      assert.is_truthy((r.err .. r.out):find("is left with what was written", 1, true) or (r.err .. r.out):find("is incomplete", 1, true),
        r.err .. r.out)
      assert.is_truthy(proc.read(out))
    end
  end)

  it("stopped by a signal leaves what a longer run begins with", function()
    local file = scenario(BUSY)
    local whole = proc.dir() .. "/a"
    assert.are.equal(0, run(file, { "--seed", 5, "-q", "--for", "10m", "--shards", 1, "--sink", "ndjson=" .. whole }).code)
    whole = proc.read(whole)
    for _, shards in ipairs { 1, 2 } do
      local out = proc.dir() .. "/a"
      local p = proc.start(proc.command { proc.program, file, "--virtual", "--from", "2026-01-01", "--model-dir", proc.root .. "/models",
        "--seed", 5, "--for", "3650d", "--shards", shards, "--progress", "plain", "--progress-interval", "1s", "--sink", "ndjson=" .. out })
      assert(proc.wait(20, function() return p.err():find("phase=hold") or p.err():find("phase=ramp") end), p.err())
      proc.wait(1, function() return false end) -- some work, whatever it comes to
      p.signal(2)
      assert.are.equal(105, p.wait(30), p.err())
      local text = proc.read(out)
      assert.are.equal("\n", text:sub(-1))
      local n = math.min(#text, #whole)
      assert.is_true(n > 0)
      assert.is_true(text:sub(1, n) == whole:sub(1, n), "a prefix, " .. shards .. " shards")
      assert.is_truthy(p.out():find("incomplete", 1, true), p.out())
    end
  end)

  it("does not hang on behaviours that let no time pass", function()
    local spin = scenario([[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 2, behaviour = function(dev)
  assert(dev:connect())
  for i = 1, 1000 do dev:sleep(0) end
  for i = 1, 1000 do dev:publish("v", i, { qos = 1, wait = true }) end
  while true do dev:sleep("1h") end
end }
return iotix.scenario { name = "spin", duration = "1h", groups = { g } }
]])
    local r = run(spin, { "-q", "--sink", "csv=-" })
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(2001, #lines(r.out))
  end)
end)
