-- The load of tests/bench/bench_mqtt: devices connect, wait for the 10th second, then publish about 200 bytes each interval.
-- Two groups to two loopback addresses, so that no source address has more connections to one destination than the kernel likes.
local iotix, gen = require "iotix", require "iotix.gen"

local p = iotix.params {
  port = { type = "integer", default = 1883, help = "port of the sink on 127.0.0.1 and 127.0.0.2" },
  devices = { type = "integer", default = 100, help = "devices in all" },
  interval = { type = "duration", default = "1s", help = "between two publishes of a device" },
  qos = { type = "integer", default = 0 },
  mode = { type = "string", default = "lua", help = "lua or model" },
  version = { type = "integer", default = 4, help = "of MQTT: 4 is 3.1.1, 5" },
  duration = { type = "duration", default = "20s" },
  start = { type = "number", default = 10, help = "second of the run at which publishing begins" },
}

-- Brings the PUBLISH to about the 200 bytes of the floor's.
local note = "operational, firmware 2.4.1, north wing, floor 3, last calibrated 2026-03-14"

local function behaviour(dev)
  local temperature = gen.walk { start = 21, step = 0.2, min = 15, max = 30 }
  local humidity = gen.normal { mean = 45, stddev = 8, min = 0, max = 100 }
  assert(dev:connect())
  dev:sleep(math.max(0, p.start - iotix.elapsed()))
  local n = 0
  for _ in dev:every(p.interval) do
    n = n + 1
    dev:publish("telemetry", { temperature = temperature(), humidity = humidity(), sequence = n, note = note })
  end
end

local function half(i, count)
  return iotix.group {
    name = "lua" .. i, count = count, qos = p.qos, launch = { strategy = "immediate" },
    model = p.mode == "model" and "bench-sensor" or nil,
    behaviour = p.mode == "lua" and behaviour or nil,
    connection = iotix.mqtt { version = p.version, broker = string.format("mqtt://127.0.0.%d:%d", i, p.port), keep_alive = "600s", connect_window = 64 },
  }
end

local first = math.ceil(p.devices / 2)
return iotix.scenario {
  name = "bench", duration = p.duration, groups = { half(1, first), half(2, math.max(1, p.devices - first)) },
}
