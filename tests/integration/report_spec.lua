-- What a run tells: any bytes in an error's text, the machine form of a failed load, no passwords, metrics by their documented names.
local proc = require "integration.proc"
local json = require "iotix._core.json"

local function scenario(text) return proc.write(proc.dir() .. "/told.lua", text) end

local function decode(text)
  local value, problem = json.decode(text or "")
  assert(value ~= nil, tostring(problem) .. "\n" .. tostring(text))
  return value
end

local head = 'local iotix = require "iotix"\n'
local function group(body) return head .. 'local g = iotix.group { name = "g", behaviour = function(dev)\n' .. body .. "\nend }\n" end
local tail = 'return iotix.scenario { name = "s", duration = "1s", groups = { g } }\n'
local publishing = 'assert(dev:connect())\ndev:publish("a", "b")\n'

describe("bytes that are no UTF-8", function()
  teardown(proc.cleanup)

  local cases = {
    { "in a syntax error", "x \255\n", 104, "IOTX001" },
    { "in an error at load", 'error("\\255 boom")\n', 107, "boom" },
    { "in an error of a device", group(publishing .. 'error("\\255 boom")') .. tail, nil, "boom" },
    { "in an error that fails the run", group(publishing .. 'error("\\255 boom")'):gsub('name = "g",', 'name = "g", on_error = "fail",') .. tail, 107, "boom" },
    { "in a log line", group(publishing .. 'dev:log("\\255 boom")') .. tail, 0, "boom" },
    { "and a NUL in a log line", group(publishing .. 'print("\\0\\254 boom")') .. tail, 0 },
    { "in an error of the test", group(publishing) .. tail:gsub(" }\n", ', test = function() error("\\255 boom") end }\n'), 107, "boom" },
    { "in a check", group(publishing) .. tail:gsub(" }\n", ', test = function() iotix.expect(1, "\\255 boom").equals(2) end }\n'), 110, "boom" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " break nothing", function()
      local r = proc.run({ scenario(case[2]), "--stop-timeout", "1s" }, 30)
      if case[3] then assert.are.equal(case[3], r.code, r.err .. r.out) end
      if case[4] then assert.is_truthy((r.err .. r.out):find(case[4], 1, true), r.err .. r.out) end
      for _, sign in ipairs { "IOTX082", "status 71", "shard 0 exited" } do
        assert.is_falsy((r.err .. r.out):find(sign, 1, true), r.err .. r.out)
      end
    end)
  end
end)

describe("--summary-json of a scenario that does not load", function()
  teardown(proc.cleanup)

  for code, text in pairs { [104] = "local x = = 3\n", [107] = 'error("boom")\n' } do
    it("has the diagnostics: exit " .. code, function()
      local out = proc.dir() .. "/summary.json"
      local r = proc.run({ scenario(text), "--summary-json", out }, 30)
      assert.are.equal(code, r.code, r.err)
      local summary = decode(proc.read(out))
      assert.are.equal(code, summary.verdict.exitCode)
      assert.is_false(summary.verdict.pass)
      assert.is_true(#summary.diagnostics > 0)
      assert.are.equal(1, summary.diagnostics[1].line)
      assert.is_truthy(r.err:find(summary.diagnostics[1].code, 1, true), r.err)
    end)
  end

  it("goes to stdout for -, and is not written for a scenario that is not there", function()
    local r = proc.run({ scenario("local x = = 3\n"), "--summary-json", "-" }, 30)
    assert.are.equal(104, r.code)
    assert.are.equal(104, decode(r.out).verdict.exitCode)
    local out = proc.dir() .. "/summary.json"
    assert.are.equal(2, proc.run({ "/nonexistent/scenario.lua", "--summary-json", out }, 30).code)
    assert.is_nil(proc.read(out))
  end)
end)

describe("a password in a broker's URL", function()
  teardown(proc.cleanup)
  local file = function(broker)
    return scenario(group('dev:connect()\ndev:publish("a", "b")') .. tail:gsub('name = "s",', ('name = "s", broker = "%s",'):format(broker)))
  end

  it("is in no error, header, log or summary", function()
    local out = proc.dir() .. "/summary.json"
    local runs = {
      { scenario(group("") .. tail), "-b", "mqtt://user:hunter2@h:99999" },
      { file "mqtt://user:hunter2@h:99999" },
      { file "mqtt://user:hunter2@127.0.0.1:1", "-v", "--stop-timeout", "1s", "--summary-json", out },
    }
    for _, args in ipairs(runs) do
      local r = proc.run(args, 30)
      assert.is_true(r.code ~= 0)
      assert.is_falsy((r.err .. r.out):find("hunter2", 1, true), r.err .. r.out)
    end
    assert.is_falsy(proc.read(out):find("hunter2", 1, true))
  end)
end)

describe("metrics", function()
  teardown(proc.cleanup)

  -- The table of the documentation; a unit test holds it against what thresholds know.
  local function known()
    local set = {}
    for line in io.lines(proc.root .. "/docs/reference/metrics.md") do
      local name, kind = line:match("^| `([%l%d_]+)` | (%l+) |")
      if name and (kind == "counter" or kind == "rate" or kind == "gauge" or kind == "trend") then set[name] = kind end
    end
    return set
  end

  local text = head .. ([[
    local model = iotix.group { name = "model", model = "temperature-sensor", count = 2 }
    local busy = iotix.group { name = "busy", behaviour = function(dev)
      assert(dev:connect())
      while true do
        local from = 0
        for i = 1, 3e6 do from = from + i end -- over a slice, again and again, never over so many in a row that it is killed
        dev:sleep("100ms")
      end
    end }
    local runaway = iotix.group { name = "runaway", behaviour = function(dev) assert(dev:connect()) while true do end end }
    local broken = iotix.group { name = "broken", behaviour = function(dev) assert(dev:connect()) error("broken") end }
    local slow = iotix.group { name = "slow", behaviour = function(dev)
      assert(dev:connect())
      for _ in dev:every("100ms") do
        dev:publish("t", "x", { qos = 1 })
        dev:sleep("250ms")
      end
    end }
    local valve = iotix.group { name = "valve", behaviour = function(dev)
      assert(dev:connect())
      dev:on("command", function(c) if c.name == "bad" then error("no such command") end end)
      dev:publish("ready", "x", { retain = true, qos = 1 })
    end }
    local cut = iotix.group { name = "cut", behaviour = function(dev)
      assert(dev:connect())
      dev:publish("t", "x", { qos = 1 })
      dev:disconnect("abrupt")
    end }
    local nowhere = iotix.group { name = "nowhere", connection = iotix.mqtt { broker = "mqtt://127.0.0.1:@PORT@" }, behaviour = function(dev)
      dev:connect { retry = false }
    end }
    return iotix.scenario { name = "metrics", duration = "4s",
      groups = { model, busy, runaway, broken, slow, valve, cut, nowhere }, ledger = { groups = { slow }, stamp = "topic", late = "200ms" },
      test = function(run)
        iotix.expect.message { topic = run:group("valve"):topic(1, "ready"), within = "3s" }
        run:group("valve"):command(1, "good")
        run:group("valve"):command(1, "bad")
        iotix.expect(run:group("valve"):count("online")).at_least(1)
      end }
  ]])

  it("that a run makes are the documented ones, and each is produced", function()
    local out = proc.dir() .. "/summary.json"
    local r = proc.run({ (scenario(text:gsub("@PORT@", proc.port()))), "--summary-json", out, "--stop-timeout", "1s", "--model-dir", proc.root .. "/models",
      "--sink", "ndjson=" .. proc.dir() .. "/kept.ndjson" }, 40)
    local summary = decode(proc.read(out))
    local set, made, sum, hits = known(), {}, {}, {}
    for _, m in ipairs(summary.metrics) do
      made[m.name] = m.type
      sum[m.name] = (sum[m.name] or 0) + (m.values.count or 0)
      hits[m.name .. "/" .. tostring(m.tags.group)] = m.values.hits
      assert.are.equal(set[m.name], m.type, m.name .. " is documented as it is")
    end
    local rare = { messages_dropped = true, stamps_failed = true } -- made by the first drop
    -- Made only by models with behaviors, commands or children, and by proxies: their own specs look at them.
    local elsewhere = { behaviors_fired = true, behavior_errors = true, failures = true, commands_late = true, command_latency = true,
      children = true, children_messages = true, gateway_batches = true, gateway_dropped = true, messages_proxied = true, proxy_latency = true,
      proxy_commands = true, proxy_dropped = true, proxies_silent = true, proxy_source_errors = true, devices_by_source = true }
    -- Made by other protocols, MQTT 5, TLS and tokens: embedded_spec, connect_spec and those of the adapters look at them.
    for name in ("tls_latency tls_full tls_resumed credential_refreshes redirects requests request_errors request_failures request_latency request_latency_raw requests_served "
      .. "responses responses_unknown http_retries http_connections coap_retransmissions coap_timeouts coap_resets coap_duplicates coap_malformed "
      .. "share_members share_messages share_messages_squared "
      -- Made by sinks that are slow, full or refuse: influx_spec, tests/unit/sink.
      .. "sink_dropped sink_spilled sink_unspilled sink_skipped sink_refused "
      -- Made by faults: tests/unit/chaos, chaos_spec.
      .. "faults_active link_impaired link_held_bytes link_dropped link_queue_full link_duplicated link_reordered link_corrupted "
      .. "link_retransmitted link_timeouts link_resets link_dns_failed link_connects_refused link_connects_timed_out link_tls_failed"):gmatch("%S+") do elsewhere[name] = true end
    for name in pairs(set) do assert.is_truthy(made[name] or rare[name] or elsewhere[name], name .. " is documented but nothing makes it\n" .. r.err) end
    for _, name in ipairs { "script_errors", "slice_overruns", "tasks_killed", "commands_received", "command_errors", "checks", "connects",
      "connect_failures", "disconnects", "messages_sent", "messages_acked", "samples_generated", "tick_late", "loop_turn" } do
      assert.is_true(sum[name] > 0, name .. " stayed at 0\n" .. r.err)
    end
    -- The body of "slow" takes longer than its interval: that is the author's doing and no lateness of the generator.
    local sent = 0
    for _, m in ipairs(summary.metrics) do
      if m.name == "messages_sent" and m.tags.group == "slow" then sent = m.values.count end
    end
    assert.is_true(sent > 2)
    assert.is_true(hits["tick_late/slow"] <= sent / 4, hits["tick_late/slow"] .. " late ticks at " .. sent .. " messages")
  end)
end)

describe("iotix-run version", function()
  teardown(proc.cleanup)

  it("knows LuaJIT's", function() assert.is_truthy(proc.run({ "version" }, 10).out:find("LuaJIT%s+2%.%d")) end)
end)
