-- A fleet over TLS with a certificate of its own for each device, minted by a CA that the run is given. Without one the devices
-- have no certificates, and the broker is the run's own with TLS; their sessions are resumed at a reconnect.
--   iotix-run scenarios/mtls-fleet.lua
--   iotix-run scenarios/mtls-fleet.lua -e BROKER=mqtts://broker.example:8883 -e CA=ca.pem -e CA_KEY=ca.key
local iotix = require "iotix"

local ca, ca_key = iotix.env("CA"), iotix.env("CA_KEY")

local fleet = iotix.group {
  name = "fleet", model = "temperature-sensor", count = 50,
  launch = { strategy = "linear", rate = 25 },
  connection = iotix.mqtt {
    broker = iotix.env("BROKER", "mqtts://embedded"),
    version = "5",
    connect_pacing = "adaptive", -- handshakes are dear: slow down when the broker answers late
    tls = {
      ca = ca,
      mint = ca_key and { ca = ca, ca_key = ca_key, name = "${deviceId}", days = 7 } or nil,
      min_version = "1.2",
    },
  },
  dropout = { at = "2s", count = 10, reconnect = true, reconnect_delay = "500ms" },
}

return iotix.scenario {
  name = "mtls-fleet",
  duration = "4s",
  groups = { fleet },
  thresholds = {
    ["messages_sent{group:fleet}"] = "count > 100",
    connect_errors = "rate < 1%",
    ["tls_full{group:fleet}"] = "count >= 50",
  },
}
