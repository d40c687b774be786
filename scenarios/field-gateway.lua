-- Four gateways, each with five sensors and a valve behind it: one connection a gateway (models/field-gateway.json).
-- Run it:  iotix-run scenarios/field-gateway.lua
local iotix = require "iotix"

local fields = iotix.group { name = "fields", model = "field-gateway", count = 4 }

return iotix.scenario {
  name = "field-gateway",
  duration = "12s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { fields },
  thresholds = { ["messages_sent{group:fields}"] = "count > 15", ["children_messages"] = "count > 100" },
  test = function(run)
    run:group("fields"):wait("online", 4, "10s")
    iotix.expect.message {
      label = "what the children say comes collected",
      topic = "fields/+/batch", within = "6s",
      where = function(m) return m.json and m.json[1].device and m.json[1].payload end,
    }
  end,
}
