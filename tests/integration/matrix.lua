-- What is run against what: the specs make their cases from these rows, docs/generate_protocols.lua makes the page.
local M = {}

local function broker(peer, start, version, notes, environment)
  environment.VERSION = version
  return { peer = peer, start = start, protocol = "MQTT " .. version, transport = "TCP", notes = notes, environment = environment,
    spec = "integration/brokers_spec.lua", made = true, test = peer .. ": MQTT " .. version }
end

M.brokers = {
  broker("mosquitto 2.0 (Debian)", "mosquitto", "3.1.1", "", {}),
  broker("mochi-mqtt 2.7 (Go)", "mochi", "3.1.1",
    "not with version 5: its PUBACK carries reason code 0x01, which MQTT 5 does not have there", {}),
  broker("mosquitto 2.0 (Debian)", "mosquitto", "5", "", {}),
  broker("aedes 1.2 (npm)", "aedes", "3.1.1", "", {}),
  broker("RabbitMQ 3.10 with its MQTT plugin (Debian)", "rabbitmq", "3.1.1", "QoS 2 left out: it answers PUBACK to it", { MAX_QOS = "1" }),
  broker("NATS 2.9 (Debian)", "nats", "3.1.1", "QoS 2 left out: it closes the connection", { MAX_QOS = "1" }),
}

local function other(protocol, transport, peer, spec, test, notes)
  return { protocol = protocol, transport = transport, peer = peer, spec = spec, test = test, notes = notes or "" }
end

-- What other specs run against software of others.
M.others = {
  other("MQTT codec", "bytes", "mqtt-packet 9.0 (npm)", "integration/mqtt_packet_spec.lua", "agree on random packets both ways"),
}

return M
