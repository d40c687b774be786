-- Bad input: every one gets a clear error; nothing hangs, crashes or is left behind.
local proc = require "integration.proc"

local function scenario(text) return proc.write(proc.dir() .. "/bad.lua", text) end

local function group(body)
  return 'local iotix = require "iotix"\nlocal g = iotix.group { name = "g", behaviour = function(dev)\n' .. body
    .. '\nend }\nreturn iotix.scenario { name = "s", duration = "1s", groups = { g } }\n'
end

-- Each: what is in the file, the exit code, what the message must say.
local load_errors = {
  { "a syntax error", "local x = = 3\n", 104, "bad.lua:1" },
  { "an unknown key", 'local iotix = require "iotix"\n\nreturn iotix.scenario { nmae = "x" }', 104, "bad.lua:3", "nmae", "name" },
  { "a wrong type", 'local iotix = require "iotix"\nreturn iotix.group { name = "x", count = "many" }', 104, "bad.lua:2", "count" },
  { "a missing model", 'local iotix = require "iotix"\nreturn iotix.group { name = "x", model = "no-such-model" }', 104, "no%-such%-model", "bad.lua:2" },
  { "nothing returned", 'local iotix = require "iotix"\n', 104, "return iotix.scenario" },
  { "a runtime error", "local t = nil\nprint(t.x)\n", 107, "bad.lua:2" },
  { "an undeclared global", "x = 1\n", 107, "bad.lua:1", "local" },
  { "bytecode", "\27LJ\2\0\0", 104, "bytecode" },
  { "a 1 GB string", 'local s = ("x"):rep(1e9)\n', 107, "bad.lua:1" },
  { "growing memory", 'local s = "x"\nwhile true do s = s .. s end\n', 107 },
  { "an endless loop", "while true do end\n", 107, "bad.lua:1" },
  { "an endless loop in pcall", "while true do pcall(function() while true do end end) end\n", 107, "bad.lua:1" },
  { "a bad threshold", 'local iotix = require "iotix"\nreturn iotix.scenario { name = "s", duration = "1s", groups = { iotix.group { name = "g", behaviour = print } }, thresholds = { publish_latency = "p95 << 3" } }', 104, "bad.lua:2" },
  { "a hostile require", 'require "../../etc/passwd"\n', 107, "bad.lua:1" },
  { "an unknown parameter", 'local iotix = require "iotix"\nlocal p = iotix.params { rate = 3 }\nreturn iotix.scenario { name = "s", duration = "1s", groups = { iotix.group { name = "g", behaviour = print } } }', 104, "rat", "rate", args = { "-p", "rat=4" } },
}

describe("a scenario with", function()
  teardown(proc.cleanup)

  for _, case in ipairs(load_errors) do
    it(case[1] .. " is refused with a clear error", function()
      local args = { scenario(case[2]) }
      for _, a in ipairs(case.args or {}) do args[#args + 1] = a end
      local tag = proc.tag()
      local r = proc.run(args, 40, tag)
      assert.are.equal(case[3], r.code, r.err .. r.out)
      for i = 4, #case do
        assert.is_truthy(r.err:find(case[i]), "stderr says " .. case[i] .. ":\n" .. r.err)
      end
      assert.are.equal("", proc.tagged(tag))
    end)
  end

  it("a cyclic require shows the cycle", function()
    local dir = proc.dir()
    proc.write(dir .. "/a.lua", 'return require "b"')
    proc.write(dir .. "/b.lua", 'return require "a"')
    proc.write(dir .. "/main.lua", 'require "a"')
    local r = proc.run({ dir .. "/main.lua" }, 30)
    assert.are.equal(107, r.code, r.err)
    assert.is_truthy(r.err:find("a") and r.err:find("b") and r.err:find("circle"), r.err)
  end)

  it("a model that breaks the schema names every violation with its pointer", function()
    local dir = proc.dir()
    proc.write(dir .. "/broken.json", [[{ "id": "1x", "name": "", "type": "sensr", "protocol": "mqtt",
      "telemetry": [ { "name": "t", "type": "number", "intervalMs": 5, "generator": { "type": "uniform" }, "colour": 1 } ] }]])
    local r = proc.run({ proc.write(dir .. "/main.lua", 'local iotix = require "iotix"\nlocal g = iotix.group { name = "g", model = "broken" }\nreturn iotix.scenario { name = "s", duration = "1s", groups = { g } }') }, 30)
    assert.are.equal(104, r.code, r.err)
    for _, pointer in ipairs { "/id", "/name", "/type", "/telemetry/0/intervalMs", "/telemetry/0" } do
      assert.is_truthy(r.err:find(pointer, 1, true), "names " .. pointer .. ":\n" .. r.err)
    end
    assert.is_truthy(r.err:find("broken.json:1:", 1, true), r.err)
  end)
end)

describe("a device that", function()
  teardown(proc.cleanup)

  it("never returns is stopped; the others go on", function()
    local file = scenario([[
      local iotix = require "iotix"
      local bad = iotix.group { name = "bad", behaviour = function(dev) assert(dev:connect()) while true do end end }
      local good = iotix.group { name = "good", count = 50, behaviour = function(dev)
        assert(dev:connect())
        for _ in dev:every("100ms") do dev:publish("x", "1") end
      end }
      return iotix.scenario { name = "s", duration = "3s", groups = { bad, good },
        thresholds = { ["messages_sent{group:good}"] = "count > 800" } }
    ]])
    local r = proc.run({ file }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.err:find("bad%-1") and r.err:find("bad.lua:2"), r.err)
  end)

  it("no limit inside Lua reaches (compiled code) costs its shard half a second; the culprit ends in quarantine", function()
    local file = scenario([[
      local iotix = require "iotix"
      local bad = iotix.group { name = "bad", behaviour = function(dev) assert(dev:connect()) dev:sleep("500ms") while true do end end }
      local good = iotix.group { name = "good", count = 100, behaviour = function(dev)
        assert(dev:connect())
        for _ in dev:every("100ms") do dev:publish("x", "1") end
      end }
      return iotix.scenario { name = "s", duration = "5s", groups = { bad, good },
        thresholds = { ["messages_sent{group:good}"] = "count > 2500" } }
    ]])
    local r = proc.run({ file, "--jit", "--shards", "2" }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.err:find("stuck in device bad%-1") and r.err:find("quarantine"), r.err)
  end)

  it("raises is logged with file, line and device", function()
    local r = proc.run({ scenario(group('assert(dev:connect())\ndev:publish("a", "b")\nlocal t = nil\nlocal _ = t.x')) }, 30)
    assert.is_truthy(r.err:find("bad.lua:6") and r.err:find("g%-1"), r.err)
  end)

  it("blocks in a coroutine of its own is told what to do", function()
    local r = proc.run({ scenario(group('assert(dev:connect())\ndev:publish("a", "b")\ncoroutine.wrap(function() dev:sleep(1) end)()')) }, 30)
    assert.is_truthy(r.err:find("iotix.spawn", 1, true), r.err)
  end)
end)

describe("a broker that", function()
  teardown(proc.cleanup)
  local body = 'assert(dev:connect { timeout = "700ms" })\ndev:publish("a", "b")\ndev:sleep("10s")'

  it("is not there: exit 111 within the bound", function()
    local r = proc.run({ scenario(group(body)), "-b", "mqtt://127.0.0.1:" .. proc.port(), "--stop-timeout", "1s" }, 30)
    assert.are.equal(111, r.code, r.err .. r.out)
    assert.is_true(r.seconds < 10 * proc.patience)
    assert.is_truthy(r.out:find("refused"), r.out)
  end)

  for _, mode in ipairs { "refuse", "close", "cut", "garbage", "silent", "drip" } do
    it("does " .. mode .. ": exit 111 within the bound", function()
      local b = proc.hostile(mode)
      local r = proc.run({ scenario(group(body)), "-b", b.url, "--stop-timeout", "1s" }, 30)
      assert.are.equal(111, r.code, r.err .. r.out)
      assert.is_true(r.seconds < 10 * proc.patience)
    end)
  end

  for _, mode in ipairs { "after", "oversize" } do
    it("sends a forbidden packet " .. mode .. " CONNACK: counted as a protocol error, no crash", function()
      local b = proc.hostile(mode)
      local r = proc.run({ scenario(group('dev:connect()\nfor _ in dev:every("50ms") do dev:publish("a", "b") end')), "-b", b.url, "--stop-timeout", "1s" }, 30)
      assert.is_true(r.code < 128, r.err .. r.out)
      assert.is_truthy(r.out:find("disconnect-", 1, true), r.out)
    end)
  end

  it("cannot be resolved: exit 111 and the name is said", function()
    local r = proc.run({ scenario(group(body)), "-b", "mqtt://no-such-host.invalid:1883", "--stop-timeout", "1s" }, 40)
    assert.are.equal(111, r.code, r.err .. r.out)
    assert.is_truthy((r.err .. r.out):find("no-such-host.invalid", 1, true), r.err .. r.out)
  end)

  it("dies in the middle is survived: reconnects are counted", function()
    local broker = proc.mosquitto()
    if not broker then return pending("mosquitto is not installed") end
    local run = proc.start(proc.command { proc.program, scenario(group('assert(dev:connect())\nfor _ in dev:every("50ms") do dev:publish("a", "b", { qos = 1 }) end')), "-b", broker.url, "-d", "3s", "--stop-timeout", "1s" })
    assert(proc.wait(5, function() return proc.shell("mosquitto_sub -p " .. broker.port .. " -t '#' -C 1 -W 1").code == 0 end))
    broker.signal(9)
    assert.is_truthy(run.wait(20))
    assert.is_true(run.code() < 112, run.err() .. run.out())
  end)
end)

describe("signals", function()
  teardown(proc.cleanup)
  local busy = group('assert(dev:connect())\nfor _ in dev:every("50ms") do dev:publish("a", "b", { qos = 1 }) end')

  for _, delay in ipairs { 0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5 } do
    it("SIGTERM after " .. delay .. " s: exit 105, a summary when the run was on, nothing left", function()
      local run = proc.start(proc.command { proc.program, scenario(busy), "-d", "20s" })
      local at = proc.now() + delay
      proc.wait(delay + 1, function() return proc.now() >= at end)
      local children = proc.descendants(run.pid)
      run.signal(15)
      local code = run.wait(15)
      assert.is_truthy(code == 105 or code == 143, "exit " .. tostring(code) .. run.err())
      for _, pid in ipairs(children) do
        assert.is_truthy(proc.wait(3, function() return not proc.exists(pid) end), "child " .. pid .. " is left")
      end
      if delay >= 0.8 * proc.patience then
        assert.are.equal(105, code)
        assert.is_truthy(run.out():find("105"), run.out())
      end
    end)
  end

  it("a second SIGINT ends at once", function()
    local hang = group('dev:connect()\nfor _ in dev:every("10ms") do dev:publish("a", "b", { qos = 1 }) end')
    local silent = proc.hostile("silent")
    local run = proc.start(proc.command { proc.program, scenario(hang), "-b", silent.url, "-d", "60s", "--stop-timeout", "30s" })
    assert(proc.wait(5, function() return #proc.descendants(run.pid) >= 1 and run.err():find("ramp") end))
    run.signal(2)
    local first = proc.now()
    proc.wait(1, function() return proc.now() - first > 0.2 end)
    run.signal(2)
    assert.is_truthy(run.wait(3))
    assert.is_true(run.code() == 105 or run.code() == 130, tostring(run.code()))
  end)

  it("SIGKILL of the supervisor leaves no child", function()
    local run = proc.start(proc.command { proc.program, scenario(busy), "-d", "20s", "--shards", "2" })
    local children
    assert(proc.wait(10, function() children = proc.descendants(run.pid) return #children >= 3 and run.err():find("hold") end), run.err())
    run.signal(9)
    for _, pid in ipairs(children) do
      assert.is_truthy(proc.wait(3, function() return not proc.exists(pid) end), "child " .. pid .. " is left")
    end
  end)

  it("SIGKILL of a shard: it is restarted and the run passes; with on_shard_lost = fail it exits 120", function()
    for policy, want in pairs { restart = 0, fail = 120 } do
      local text = busy:gsub('name = "s",', 'name = "s", on_shard_lost = "' .. policy .. '",')
      local run = proc.start(proc.command { proc.program, scenario(text), "-d", "4s", "--shards", "2" })
      local shard
      assert(proc.wait(10, function()
        for _, pid in ipairs(proc.descendants(run.pid)) do
          -- The second one: options are checked beforehand in a shard that goes away.
          if (proc.read("/proc/" .. pid .. "/comm") or ""):find("shard%-1") then shard = pid end
        end
        return shard
      end), "a shard process is named so")
      local at = proc.now()
      proc.wait(2, function() return proc.now() - at > 1 end)
      os.execute("kill -9 " .. shard)
      assert.is_truthy(run.wait(20))
      assert.are.equal(want, run.code(), run.err() .. run.out())
      assert.is_truthy(run.err():find("shard"), run.err())
    end
  end)
end)

describe("the summary file", function()
  teardown(proc.cleanup)
  local short = group('assert(dev:connect())\ndev:publish("a", "b")')

  it("in a directory that does not exist is refused before the run", function()
    local r = proc.run({ scenario(short), "--summary-json", "/nonexistent/dir/s.json" }, 30)
    assert.are.equal(2, r.code, r.err)
    assert.is_truthy(r.err:find("/nonexistent/dir", 1, true), r.err)
  end)

  it("on a full disk: the run's summary is printed, the failure said, the code not 0", function()
    local dir = proc.dir()
    local line = string.format("mount -t tmpfs -o size=64k none %s && dd if=/dev/zero of=%s/fill bs=1k 2>/dev/null; %s %s --summary-json %s/s.json",
      dir, dir, proc.quote(proc.program), scenario(short), dir)
    local r = proc.shell("unshare -rm sh -c " .. proc.quote(line), 30)
    if r.err:find("unshare") or r.err:find("mount:") then return pending("no mount namespace here") end
    assert.are.equal(109, r.code, r.err .. r.out)
    assert.is_truthy(r.err:lower():find("no space left"), r.err)
    assert.is_truthy(r.out:find("exit", 1, true), "the summary is printed all the same")
  end)
end)
