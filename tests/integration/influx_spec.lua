-- The influx sink: a real InfluxDB 1.x, and a server that misbehaves as it is told. In every case the ledger balances: what was
-- accepted is delivered, on disk, or dropped with a reason.
local proc = require "integration.proc"
local cjson = require "cjson"

local FLEET = [[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 20, qos = 1, behaviour = function(dev)
  assert(dev:connect())
  for n in dev:every("%s", { phase = "0s" }) do dev:publish("v", %s) end
end }
return iotix.scenario { name = "fleet", duration = "%s", stop_timeout = "%s", groups = { g }, seed = 1 %s }
]]

-- Names that would break out of their place if they were not escaped.
local NAMES = [==[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = 3, id = "a b,c=d\"e'\\=cmd()<script>${index}\\", behaviour = function(dev)
  assert(dev:connect())
  dev:publish("v", { ["k e,y=\"\\"] = "line\nbreak \"quoted\" \\", time = 1, ["<b>"] = true, [""] = 1, ["=cmd()"] = -1.5e3 })
  dev:publish("v", "not json, \"quoted\"\n=cmd()")
  dev:publish("v", "21.5")
  while true do dev:sleep("1h") end
end }
return iotix.scenario { name = "names", duration = "1s", groups = { g }, sinks = {
  iotix.sink.influx { %s, tags = { ["site, a=b"] = "x y,z=" } },
} }
]==]

local function scenario(more)
  more = more or {}
  return proc.write(proc.dir() .. "/s.lua", FLEET:format(more.every or "1s", more.value or "{ n = n, t = 21.5 }", more.duration or "1m",
    more.stop or "10s", more.keys or ""))
end

local function scripted(api, ...)
  local p = proc.start(proc.command { "python3", proc.root .. "/tests/integration/scripted_influx.py", api, ... })
  p.port = assert(tonumber(proc.wait(10, function() return p.out():match("port (%d+)") end)), p.err())
  p.url = "http://127.0.0.1:" .. p.port
  function p.stored()
    local r = proc.shell("curl -s http://127.0.0.1:" .. p.port .. "/stored")
    return cjson.decode(r.out)
  end
  return p
end

local function null(v) return v ~= cjson.null and v or nil end

-- Runs with one sink; virtual unless more.real. Returns the result, the sink's ledger, and the summary.
local function run(file, sink, more)
  more = more or {}
  local dir = more.dir or proc.dir()
  local args = { file, "--summary-json", dir .. "/summary.json", "-q", "--sink", sink }
  if not more.real then for _, a in ipairs { "--virtual", "--from", "2026-01-01" } do args[#args + 1] = a end end
  for _, a in ipairs(more) do args[#args + 1] = a end
  local list = { proc.program }
  for _, a in ipairs(args) do list[#list + 1] = a end
  local r = proc.shell("cd " .. dir .. " && " .. (more.env or "") .. proc.command(list), more.limit or 60)
  local text = proc.read(dir .. "/summary.json")
  local summary = text and cjson.decode(text)
  local ledger = summary and summary.sinks[1]
  if ledger then
    local dropped = 0
    for _, n in pairs(ledger.dropped) do dropped = dropped + n end
    assert.are.equal(ledger.accepted, ledger.delivered + ledger.spilled + dropped, "the ledger does not balance: " .. text)
  end
  r.dir = dir
  return r, ledger, summary
end

local function v2(server, more)
  return "influx=" .. server.url .. "/?org=o&bucket=b&token=secret&events=false" .. (more or "")
end

describe("the influx sink", function()
  teardown(proc.cleanup)

  it("writes batches with everything a point needs", function()
    local s = scripted("2", "token=secret")
    local r, ledger = run(scenario(), v2(s, "&retention=7d"))
    assert.are.equal(0, r.code, r.err .. r.out)
    local stored = s.stored()
    assert.are.equal(ledger.accepted, stored.points)
    assert.are.equal(20 * 60 + 1, stored.points, "1,200 messages and one line of engine_stats")
    assert.are.equal(stored.writes, stored.gzip)
    assert.are.equal("b", stored.buckets[1].name)
    assert.are.equal(604800, stored.buckets[1].retentionRules[1].everySeconds)
    local line
    for _, l in ipairs(stored.lines) do if l:find("g-7,", 1, true) then line = l break end end
    assert.truthy(line:match("^telemetry,device_id=g%-7,group_id=g,source=simulated n=%d+,t=21%.5 17672256%d+$"), line)
  end)

  it("halves what is too large, and finds the one bad line", function()
    local s = scripted("2", "poison", "large=300")
    local r, ledger = run(scenario { value = [[ dev.index == 3 and n == 5 and { text = "poison" } or { n = n } ]] }, v2(s))
    assert.are.equal(0, r.code, r.err .. r.out)
    local stored = s.stored()
    assert.are.equal(1, ledger.dropped.refused)
    assert.are.equal(ledger.accepted - 1, stored.points)
    assert.is_true(stored.largest <= 300)
    local kept = proc.shell("cat " .. r.dir .. "/iotix-spill/*.refused.lp").out
    assert.truthy(kept:find("telemetry,device_id=g-3", 1, true) and kept:find("# HTTP 400: unable to parse", 1, true), kept)
  end)

  it("never writes a partial write again", function()
    local s = scripted("1", "partial")
    local r, ledger = run(scenario { value = [[ dev.index == 3 and { text = "poison" } or { n = n } ]] },
      "influx=" .. s.url .. "/db?events=false")
    assert.are.equal(0, r.code, r.err .. r.out)
    local stored = s.stored()
    assert.are.equal(60, ledger.dropped.refused)
    assert.are.equal(ledger.delivered, stored.points)
    assert.are.equal(1, stored.writes)
  end)

  it("waits and tries again: 503, 429, a broken connection, a slow answer", function()
    local s = scripted("2", "503:1", "429:1", "die:1", "slow:1")
    local r, ledger = run(scenario(), v2(s, "&batch=400"))
    assert.are.equal(0, r.code, r.err .. r.out)
    local stored = s.stored()
    assert.are.equal(ledger.accepted, ledger.delivered)
    assert.are.equal(ledger.accepted, stored.points, "what was written twice is there once")
    assert.is_true(stored.writes >= 3 + 4, "it took " .. stored.writes)
  end)

  it("has virtual time wait for a server that is slower than it", function()
    local s = scripted("2", "slow:1")
    local r, ledger = run(scenario { duration = "10m", value = "{ n = n, text = ('x'):rep(300) .. n }" },
      v2(s, "&gzip=false&memory=1MB&batch=500&connections=1"))
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(20 * 600 + 1, ledger.delivered)
    assert.are.equal(ledger.accepted, ledger.delivered)
    assert.are.equal(ledger.delivered, s.stored().points)
    assert.are.equal("", proc.shell("ls " .. r.dir .. "/iotix-spill 2>/dev/null").out)
  end)

  it("honours Retry-After", function()
    local s = scripted("2", "503/2:1")
    local r, ledger = run(scenario(), v2(s))
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(ledger.accepted, ledger.delivered)
    assert.is_true(r.seconds >= 2, "it came back after " .. r.seconds .. " s")
  end)

  it("says what is wrong when it may not write, and keeps the records", function()
    local s = scripted("2", "token=another")
    local r, ledger, summary = run(scenario { stop = "1s" }, v2(s))
    assert.are.equal(109, r.code)
    assert.are.equal(ledger.accepted, ledger.spilled)
    assert.truthy(ledger.trouble:find("401", 1, true) and ledger.trouble:find("check the token", 1, true), ledger.trouble)
    assert.truthy(summary.verdict.reasons[1].text:find("has not delivered one of", 1, true))
    assert.truthy(null(ledger.left))
    local files = proc.shell("ls " .. r.dir .. "/iotix-spill").out
    assert.truthy(files:find("influx%-%w+%-0%-000001%.spill"), files)
    -- The next run says that they are there.
    local again = run(scenario(), v2(scripted("2")), { dir = r.dir })
    assert.truthy(again.err:find("earlier runs could not deliver", 1, true) or again.code == 0)
  end)

  it("drops what it has nowhere to put, and says so", function()
    local r, ledger, summary = run(scenario { stop = "1s" }, "influx=http://127.0.0.1:1/db?spill=false&events=false")
    assert.are.equal(109, r.code)
    assert.are.equal(ledger.accepted, ledger.dropped.deadline)
    assert.truthy(ledger.trouble:find("connect", 1, true), ledger.trouble)
    assert.truthy(table.concat(summary.generator.warnings, "\n"):find("sink influx dropped", 1, true))
    assert.truthy(r.out:find("none delivered", 1, true) and r.out:find("%d,?%d+ deadline%)"), r.out)
  end)

  it("takes names with everything in them", function()
    local s = scripted("2")
    local file = proc.write(proc.dir() .. "/s.lua", NAMES:format("url = \"" .. s.url .. "\", org = \"o\", bucket = \"b\", events = true"))
    local dir = proc.dir()
    local r, ledger = run(file, "ndjson=" .. dir .. "/a.ndjson", { "--sink", "csv=" .. dir .. "/a.csv" })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal("influx", ledger.name)
    assert.are.equal(ledger.accepted, ledger.delivered)
    assert.are.equal(3, ledger.skipped)
    local stored = s.stored()
    assert.are.equal(ledger.delivered, stored.points)
    local text = table.concat(stored.lines, "\n")
    assert.truthy(text:find([[telemetry,device_id=a\ b\,c\=d"e'\\=cmd()<script>1_,group_id=g,site\,\ a\=b=x\ y\,z\=,source=simulated ]], 1,
      true), text)
    assert.truthy(text:find([["line break \"quoted\" \\"]], 1, true), text)
    assert.truthy(text:find("time_=1", 1, true) and text:find("value=21.5", 1, true), text)
    for line in proc.read(dir .. "/a.ndjson"):gmatch("[^\n]+") do
      assert.are.equal([[a b,c=d"e'\=cmd()<script>]], cjson.decode(line).device:sub(1, 25))
    end
  end)

  it("refuses what makes no sense before anything runs", function()
    local file = scenario()
    for _, case in ipairs {
      { "influx=http://127.0.0.1:8086", "database is missing" },
      { "influx=http://127.0.0.1:8086/db?bucket=b", "database and retentionPolicy are of versions 1.x" },
      { "influx=http://127.0.0.1:8086/db?gzp=true", 'did you mean "gzip"' },
      { "influx=http://127.0.0.1:8086/db?batch=0", "batch" },
      { "influx=http://127.0.0.1:8086/db?full=maybe", "full" },
      { "influx=ftp://127.0.0.1:21/db", "expected http:// or https://" },
      { "inflx=http://127.0.0.1/db", 'did you mean "influx"' },
      { "influx", "is not TYPE=TARGET" },
    } do
      local r = proc.run({ file, "--sink", case[1] }, 20)
      assert.are.equal(2, r.code, case[1] .. ": " .. r.err)
      assert.truthy(r.err:find(case[2], 1, true), case[1] .. ": " .. r.err)
    end
    local r = run(file, "influx=http://127.0.0.1:8086/db?spill=/proc/nowhere", { real = true })
    assert.are.equal(109, r.code)
    assert.truthy(r.err:find("cannot make the directory", 1, true), r.err)
    r = proc.run({ "inspect", file, "--sink", "influx=http://user:hunter2@127.0.0.1:8086/db?gzip=false", "--origins" }, 20)
    assert.are.equal(0, r.code, r.err)
    assert.is_nil(r.out:find("hunter2", 1, true), r.out)
  end)

  it("goes on where a shard was killed, and counts what was in its memory", function()
    local s = scripted("2", "503:3")
    local dir = proc.dir()
    local file = scenario { every = "20ms", duration = "2s", value = "{ n = n, text = ('x'):rep(1500) .. n }" }
    local p = proc.start(proc.command { proc.program, file, "--shards", "1", "--summary-json", dir .. "/s.json", "--sink",
      v2(s, "&gzip=false&memory=1MB&batch=100&spill=" .. dir .. "/spill") })
    local shard
    assert(proc.wait(10, function()
      for _, pid in ipairs(proc.descendants(p.pid)) do
        if (proc.read("/proc/" .. pid .. "/comm") or ""):find("iotix%-shard") then shard = pid end
      end
      return shard and proc.shell("ls " .. dir .. "/spill").out:find("%.spill")
    end), p.err())
    proc.shell("kill -9 " .. shard)
    assert.are.equal(0, p.wait(40), p.err() .. p.out())
    local summary = cjson.decode(proc.read(dir .. "/s.json"))
    local ledger = summary.sinks[1]
    assert.are.equal(1, summary.generator.shardsRestarted)
    local lost = ledger.dropped.lost or 0
    assert.are.equal(ledger.accepted, ledger.delivered + lost)
    assert.are.equal(0, ledger.spilled)
    local stored = s.stored().points
    assert.is_true(stored >= ledger.delivered, stored .. " points are there, of " .. ledger.delivered)
    assert.are.equal("", proc.shell("ls " .. dir .. "/spill 2>/dev/null").out)
  end)

  it("takes a token by its name", function()
    local s = scripted("2", "token=s3cret")
    local r, ledger = run(scenario(), "influx=" .. s.url .. "/?org=o&bucket=b&tokenRef=influx&events=false",
      { env = "IOTIX_SECRET_INFLUX=s3cret " })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(ledger.accepted, ledger.delivered)
  end)
end)

describe("InfluxDB 1.x", function()
  local probe = io.popen("command -v influxd")
  local path = probe:read("*l")
  probe:close()
  if not path then
    if proc.ci then it("is there", function() error("influxd is missing: apt-get install influxdb") end)
    else pending("influxd is missing: apt-get install influxdb") end
    return
  end

  local dir, port = proc.dir(), proc.port()
  proc.write(dir .. "/conf", ([[
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "DIR/meta"
[data]
dir = "DIR/data"
wal-dir = "DIR/wal"
[http]
bind-address = "127.0.0.1:PORT"
log-enabled = false
[monitor]
store-enabled = false
]]):gsub("DIR", dir):gsub("PORT", port))
  local function start()
    local p = proc.start(proc.command { path, "-config", dir .. "/conf" })
    assert(proc.wait(20, function()
      return proc.shell("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:" .. port .. "/ping").out == "204"
    end), p.err())
    return p
  end
  local function query(q)
    local r = proc.shell("curl -s 'http://127.0.0.1:" .. port .. "/query?db=iotix' --data-urlencode " .. proc.quote("q=" .. q))
    return cjson.decode(r.out).results[1]
  end
  local server

  setup(function() server = start() end)
  teardown(proc.cleanup)

  it("has every record of a run, with a database made for it", function()
    local r, ledger = run(scenario { every = "100ms", duration = "2s" }, "influx=http://127.0.0.1:" .. port .. "/iotix?retention=7d",
      { real = true })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(ledger.accepted, ledger.delivered)
    local total = 0
    for _, m in ipairs { "telemetry", "device_events", "connections", "engine_stats" } do
      local field = ({ telemetry = "n", device_events = "count", connections = "connected", engine_stats = "total_messages" })[m]
      local s = query("SELECT count(\"" .. field .. "\") FROM " .. m)
      total = total + s.series[1].values[1][2]
    end
    assert.are.equal(ledger.accepted, total)
    assert.are.equal("168h0m0s", query("SHOW RETENTION POLICIES").series[1].values[1][2])
  end)

  it("takes names with everything in them", function()
    query("DROP MEASUREMENT telemetry")
    local file = proc.write(proc.dir() .. "/s.lua", NAMES:format("url = \"http://127.0.0.1:" .. port .. "\", database = \"iotix\", events = false"))
    local r, ledger = run(file, "csv=" .. proc.dir() .. "/a.csv", { real = true })
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(ledger.accepted, ledger.delivered)
    local s = query("SELECT * FROM telemetry WHERE \"=cmd()\" < 0").series[1]
    assert.are.equal(3, #s.values)
    local row = {}
    for i, name in ipairs(s.columns) do row[name] = s.values[1][i] end
    assert.are.equal([[a b,c=d"e'\=cmd()<script>N_]], (row.device_id:gsub("[123]_$", "N_")))
    assert.are.equal([[line break "quoted" \]], row[ [[k e,y="_]] ])
    assert.are.equal("x y,z=", row["site, a=b"])
  end)

  it("loses nothing when it is killed in the middle and started again", function()
    query("DROP MEASUREMENT telemetry")
    local p = proc.dir()
    local file = scenario { every = "50ms", duration = "4s" }
    local running = proc.start(proc.command { proc.program, file, "--summary-json", p .. "/s.json", "--sink",
      "influx=http://127.0.0.1:" .. port .. "/iotix?flush=200ms&events=false&spill=" .. p .. "/spill" })
    assert(proc.wait(15, function()
      local s = query("SELECT count(n) FROM telemetry")
      return s.series and s.series[1].values[1][2] > 200
    end), running.err())
    server.signal(9)
    assert(server.wait(5))
    assert(proc.wait(10, function() return running.err():find("sink influx: http", 1, true) end), running.err())
    server = start()
    assert.are.equal(0, running.wait(40), running.err() .. running.out())
    local ledger = cjson.decode(proc.read(p .. "/s.json")).sinks[1]
    assert.are.equal(ledger.accepted, ledger.delivered)
    assert.truthy(null(ledger.trouble), "it was noticed")
    local stats = query("SELECT count(n) FROM telemetry").series[1].values[1][2]
    local figures = query("SELECT count(total_messages) FROM engine_stats").series[1].values[1][2]
    assert.is_true(stats <= ledger.delivered and stats >= ledger.delivered - figures, stats .. " of " .. ledger.delivered)
  end)
end)
