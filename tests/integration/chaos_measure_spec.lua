-- What bad networks do, against what they were configured to do, at 1 and at 5,000 devices, from a fixed seed. Who measures is not
-- iotix: datagrams and streams go to chaos_receiver.py, which knows when each was sent. The MQTT part compares with the run's own
-- latencies. The table is printed; docs/internals/link.md has one.
--
-- Bounds are four standard deviations of what chance does to that many datagrams (one draw in 16,000 lies outside), and for times,
-- besides, what a machine that does other things at the same time adds to them: they may be late, never early.
local proc = require "integration.proc"
local cjson = require "cjson"

local SEED, MANY = "5", proc.patience > 1 and 500 or 5000 -- sanitizers: whether it works, at a tenth
local LATE = 20 * proc.patience -- ms

local SCENARIO = [=[
local iotix = require "iotix"
local chaos = iotix.chaos
local RUN, N, TCP, UDP = "%s", %d, %d, { %s }
-- Each phase: from, to, datagrams of a device. What is sent in `none` meets no fault.
local phases = %s
local STREAM, RATE = %d, "%s"
local g = iotix.group { name = "g", count = N, behaviour = function(dev)
  local rng = math.random
  local socket = assert(iotix.link.datagram { host = "127.0.0.1", port = UDP[dev.index %% #UDP + 1] })
  for _, p in ipairs(phases) do
    local name, from, to, n = p[1], p[2], p[3], p[4]
    local step = (to - from) / n
    dev:sleep(math.max(0, from - iotix.elapsed()) + step * rng())
    for i = 1, n do
      assert(socket:send(string.format("%%s %%s %%d %%d %%d %%.6f %%.6f", RUN, name, dev.index, i, n, iotix.now(), iotix.elapsed())))
      local rest = from + step * i - iotix.elapsed()
      if rest > 0 then dev:sleep(rest) end
    end
  end
  local stream
  dev:sleep(math.max(0, 10.2 - iotix.elapsed()) + rng() * 1.2)
  stream = assert(iotix.link.connect { host = "127.0.0.1", port = TCP, timeout = "10s" })
  assert(stream:write(RUN .. " " .. dev.index .. "\n"))
  dev:sleep(math.max(0, 12 - iotix.elapsed()))
  assert(stream:write(string.rep("x", STREAM)))
  dev:sleep(10)
end }
return iotix.scenario { name = "m", duration = "16s", stop_timeout = "1s", groups = { g }, broker = "mqtt://127.0.0.1:1", timeline = {
  chaos.link({ up = { latency = { value = "50ms", jitter = "10ms" } } }, { name = "delay", from = "1.9s", to = "3.8s" }),
  chaos.link({ up = { loss = "10%%" } }, { name = "loss", from = "3.9s", to = "5.7s" }),
  chaos.link({ up = { loss = { burst = { p = 0.02, r = 0.25 } } } }, { name = "burst", from = "5.8s", to = "7.6s" }),
  chaos.partition { direction = "up", from = "8.2s", to = "9.2s" },
  chaos.link({ up = { bandwidth = RATE } }, { name = "rate", from = "11.8s" }),
} }
]=]

-- What a device sends in each phase: from, to (seconds of the run), datagrams.
local PHASES = {
  [1] = { { "none", 0.6, 1.7, 200 }, { "delay", 2.0, 3.6, 800 }, { "loss", 4.0, 5.6, 1600 }, { "burst", 5.9, 7.5, 1600 }, { "cut", 7.7, 9.7, 1000 } },
  [MANY] = { { "none", 0.6, 1.7, 1 }, { "delay", 2.0, 3.6, 3 }, { "loss", 4.0, 5.6, 4 }, { "burst", 5.9, 7.5, 6 }, { "cut", 7.7, 9.7, 4 } },
}
local STREAMS = { [1] = { 146000, 400e3 }, [MANY] = { 6 * 1460, 24e3 } } -- bytes, bit/s

local MQTT = [=[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = %d, launch = { strategy = "linear", rate = 2500 },
  connection = iotix.mqtt { broker = "embedded", connect_window = 5000 }, behaviour = function(dev)
  assert(dev:connect())
  dev:sleep(math.random())
  for _ = 1, 3 do dev:publish("t", "x", { qos = 1, wait = true }) dev:sleep("200ms") end
end }
return iotix.scenario { name = "q", groups = { g }, stop_timeout = "5s", duration = "6s",
  timeline = { iotix.chaos.link { up = { latency = "150ms" }, down = { latency = "100ms" } } } }
]=]

local function lua_list(list)
  local out = {}
  for i, p in ipairs(list) do out[i] = string.format("{ %q, %g, %g, %d }", unpack(p)) end
  return "{ " .. table.concat(out, ", ") .. " }"
end

local function begin(text)
  local dir = proc.dir()
  local p = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", text), "--seed", SEED, "--summary-json", dir .. "/s.json",
    "--summary", "none", "--progress", "none" })
  function p.summary()
    assert(p.wait(60), "the run does not end: " .. p.err())
    local json = assert(proc.read(dir .. "/s.json"), p.err())
    return cjson.decode(json)
  end
  return p
end

local function value(summary, name, field)
  for _, m in ipairs(summary.metrics) do
    if m.name == name then return m.values[field] end
  end
  error("no metric " .. name)
end

local rows = {}
local function row(n, what, configured, measured, low, high, unit)
  rows[#rows + 1] = string.format("| %d | %s | %s | %.4g | %.4g to %.4g | %s |", n, what, configured, measured, low, high, unit)
  assert.is_true(measured >= low and measured <= high, rows[#rows])
end

-- Four standard deviations of a share p of n draws; correlated ones count for less of them.
local function share(p, n, correlation)
  local c = correlation or 0
  local off = 4 * math.sqrt(p * (1 - p) / n * (1 + c) / (1 - c))
  return p - off, p + off
end

describe("bad networks, measured", function()
  local report, mqtt = nil, {}
  setup(function()
    local receiver = proc.start("python3 " .. proc.quote(proc.root .. "/tests/integration/chaos_receiver.py"))
    local ports = {}
    for port in assert(proc.wait(10, function() return receiver.out():match("ports ([%d ]+)\n") end), receiver.err()):gmatch("%d+") do
      ports[#ports + 1] = port
    end
    local runs = {}
    for i, n in ipairs { 1, MANY } do
      runs[i] = begin(SCENARIO:format(n, n, ports[1], table.concat(ports, ", ", 2), lua_list(PHASES[n]), STREAMS[n][1], STREAMS[n][2] .. "bit"))
    end
    for _, p in ipairs(runs) do p.summary() end
    receiver.signal(15)
    assert(receiver.wait(30), "the receiver does not end")
    report = cjson.decode(receiver.out():match("\n(%b{})"))
    for _, n in ipairs { 1, MANY } do mqtt[n] = begin(MQTT:format(n)) end
    for n, p in pairs(mqtt) do mqtt[n] = p.summary() end
    assert.are.equal(0, report.overflowed, "the receiver had too little time: its figures are worth nothing")
  end)
  teardown(function()
    proc.cleanup()
    print("\n| devices | | configured | measured | bound | |\n|---|---|---|---|---|---|\n" .. table.concat(rows, "\n"))
  end)

  local function phase(n, name) return assert(report.phases[n .. " " .. name], name .. ": nothing arrived") end
  local function sent(n, name)
    for _, p in ipairs(PHASES[n]) do
      if p[1] == name then return p[4] * n end
    end
  end

  for _, n in ipairs { 1, MANY } do
    local of = n == 1 and "1 device: " or n .. " devices: "

    it(of .. "nothing is lost where nothing acts", function()
      assert.are.equal(sent(n, "none"), phase(n, "none").arrived)
    end)

    it(of .. "latency and jitter", function()
      local none, late, total = phase(n, "none"), phase(n, "delay"), sent(n, "delay")
      assert.are.equal(total, late.arrived)
      local off = 4 * 1.2533 * 10 / math.sqrt(total) -- of a normal's median
      row(n, "latency of a datagram, median", "50 ms", (late.median - none.median) * 1e3, 50 - off - 0.5, 50 + off + LATE, "ms")
      off = 4 * 10 * 1.2 / math.sqrt(2 * total)
      row(n, "its jitter, half of what 68 % lie in", "10 ms", (late.high - late.low) / 2 * 1e3, 10 - off - 0.5, 10 + off + LATE / 2, "ms")
    end)

    it(of .. "losses", function()
      local lossy, total = phase(n, "loss"), sent(n, "loss")
      row(n, "loss of " .. total .. " datagrams", "10 %", 100 * lossy.lost / total, 100 * share(0.1, total), 100 * select(2, share(0.1, total)), "%")
      assert.are.equal(total - lossy.lost, lossy.arrived)
    end)

    it(of .. "losses in bursts", function()
      local b, total, p, r = phase(n, "burst"), sent(n, "burst"), 0.02, 0.25
      local low, high = share(p / (p + r), total, 1 - p - r)
      row(n, "loss of " .. total .. " datagrams in bursts", "7.407 %", 100 * b.lost / total, 100 * low, 100 * high, "%")
      low, high = share(1 - r, b.pairs)
      row(n, "length of a burst, mean", "4", 1 / (1 - b.again / b.pairs), 1 / (1 - low), 1 / (1 - high), "datagrams")
    end)

    it(of .. "a partition begins and ends when it should", function()
      local gap, step = phase(n, "cut").gap, n == 1 and 0.002 or 0.01
      row(n, "partition, last datagram before it", "8.2 s", gap[1], 8.2 - 3 * step, 8.2 + LATE / 100, "s")
      row(n, "partition, first datagram after it", "9.2 s", gap[2], 9.2 - 3 * step, 9.2 + LATE / 100, "s")
    end)

    it(of .. "bandwidth", function()
      local s, bytes, rate = report.streams[tostring(n)], STREAMS[n][1], STREAMS[n][2]
      assert.are.same({ n, n * bytes }, { s.n, s.bytes })
      row(n, "throughput of a TCP stream, median", string.format("%g kbit/s", rate / 1e3), s.median * 1500 / 1460 / 1e3, rate * 0.97 / 1e3,
        rate * 1.03 / 1e3, "kbit/s") -- the bucket holds 100 bytes more than the first packet
    end)

    it(of .. "MQTT over it", function()
      assert.are.equal(3 * n, value(mqtt[n], "messages_acked", "count"))
      row(n, "PUBLISH to PUBACK, QoS 1, median", "250 ms", value(mqtt[n], "publish_latency_raw", "p50"), 249, 250 + 2 * LATE, "ms")
      row(n, "connect: SYN and CONNECT, median", "500 ms", value(mqtt[n], "connect_latency_raw", "p50"), 499, 500 + 3 * LATE, "ms")
    end)
  end
end)
