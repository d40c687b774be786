-- The broker dies under 1,000 devices and comes back with nothing in its memory: no sessions, no subscriptions. Are all devices
-- back soon, and is every reading that was published meanwhile acknowledged in the end?
-- Look at: "messages acked", which is exactly devices × (readings + 1), one acknowledgement for each publish; the errors, where
-- "refused" is devices that tried while nobody listened; "reconnects"; connect_latency while all of them come at once.
-- Try: -p max=30s: after a longer outage (-p down=8) devices sleep on long after the broker is back. -p initial=50ms -p max=100ms: they
-- are back at once, for the price of many more refused connects.
-- What QoS 1 does not promise: a broker that forgets what it held loses messages for subscribers that were away. Acknowledged means
-- that the broker has it, no more; so the end is reported with a retained message of its own.
-- Run it:  iotix-run scenarios/broker-failover.lua
local iotix = require "iotix"
local chaos = iotix.chaos

local p = iotix.params {
  devices = { type = "integer", default = 1000, help = "how many" },
  readings = { type = "integer", default = 8, help = "of each device, one a second" },
  down = { type = "number", default = 2, help = "seconds for which the broker is away" },
  back_within = { type = "duration", default = "6s", help = "all are online again, after the broker is" },
  initial = { type = "duration", default = "500ms", help = "first delay of a reconnect" },
  max = { type = "duration", default = "2s", help = "longest delay" },
}

local fleet = iotix.group {
  name = "fleet", count = p.devices, qos = 1,
  launch = { strategy = "ramp", over = "2s" },
  connection = iotix.mqtt { reconnect = { initial = p.initial, max = p.max, factor = 2, jitter = true } },
  behaviour = function(dev)
    assert(dev:connect())
    for n in dev:every("1s") do
      -- Without a connection it waits in the device's queue, and goes out when there is one again.
      assert(dev:publish("reading", { n = n }))
      if n >= p.readings then break end
    end
    assert(dev:publish("done", { readings = p.readings }, { wait = true, retain = true }))
    dev:sleep("1h")
  end,
}

return iotix.scenario {
  name = "broker-failover",
  groups = { fleet },
  timeline = { chaos.broker("kill", { from = "5s", to = 5 + p.down }) },
  thresholds = {
    ["messages_acked{group:fleet}"] = "count == " .. p.devices * (p.readings + 1), -- nothing of QoS 1 is lost, nothing counted twice
    messages_dropped = "count == 0",
    publish_errors = "rate == 0%",
    ["reconnects{group:fleet}"] = "count >= " .. p.devices, -- the broker really was away
  },
  test = function(run)
    local devices = run:group("fleet")
    iotix.expect(devices:wait("online", p.devices, "5s"), "online before the broker dies").equals(p.devices)
    run:at(5 + p.down)
    local began = run:elapsed()
    local back, why = devices:wait("online", p.devices, p.back_within)
    if not back then run:fail("not all devices are back: " .. why) end
    run:log("info", ("all %d devices are back %.1f s after the broker"):format(p.devices, run:elapsed() - began))
    iotix.expect.message {
      label = "every device has had everything acknowledged", topic = "fleet/+/done", count = p.devices, within = "20s",
      where = function(m) return m.json and m.json.readings == p.readings end,
    }
  end,
}
