-- What is run against what: the specs make their cases from these rows, docs/generate_protocols.lua makes the page.
local M = {}

-- without: { { "STEP STEP", why }, … }: what of peers/broker.lua is left out; all of it is said in the notes. more.aliases: who may use topic
-- aliases (version 5): "both", "device", "broker"; the spec looks for them on the wire.
local function broker(peer, start, version, without, more)
  more = more or {}
  local steps, notes = {}, { more.note }
  for _, item in ipairs(without or {}) do
    steps[#steps + 1] = item[1]:gsub(" ", ",")
    notes[#notes + 1] = item[2]
  end
  notes[#notes + 1] = ({ device = "it takes topic aliases and uses none", broker = "it uses topic aliases and allows none" })[more.aliases]
  return { peer = peer, start = start, protocol = "MQTT " .. version, transport = "TCP", notes = table.concat(notes, "; "),
    environment = { VERSION = version, MAX_QOS = more.max_qos or "2", WITHOUT = table.concat(steps, ",") }, aliases = more.aliases,
    downgrades = more.downgrades, spec = "integration/brokers_spec.lua", made = true, test = peer .. ": MQTT " .. version }
end

local POLITE = { "polite_end", "now and then it publishes the will although DISCONNECT came before the end of the connection (MQTT-3.14.4-3): "
  .. "that it does not is not asked for" }
local SLOW = { "unsubscribe", "now and then it answers UNSUBSCRIBE after 30 s only: left out" }
local BARE = { "will_content_type will_response_topic will_correlation",
  "a will comes without its content type, response topic and correlation data (3.1.3.2): not asked for" }
local GREEDY = { "receive_maximum_qos2", "it sends more QoS 2 messages than a receive maximum of 2 allows (MQTT-3.3.4-9): step left out" }

M.brokers = {
  broker("mosquitto 2.0 (Debian)", "mosquitto", "3.1.1"),
  broker("mosquitto 2.0 (Debian)", "mosquitto", "5", { GREEDY }, { aliases = "device" }),
  broker("ActiveMQ Artemis 2.40 (Maven)", "artemis", "3.1.1", { POLITE, SLOW }),
  broker("ActiveMQ Artemis 2.40 (Maven)", "artemis", "5", { POLITE, SLOW, BARE, GREEDY }, { aliases = "both" }),
  broker("HiveMQ CE 2025.5 (Maven)", "hivemq", "3.1.1"),
  broker("HiveMQ CE 2025.5 (Maven)", "hivemq", "5",
    { { "shared_all", "of a shared subscription one member may get everything: that every member gets some is not asked for" } }, { aliases = "device" }),
  broker("mochi-mqtt 2.7 (Go)", "mochi", "3.1.1"),
  broker("mochi-mqtt 2.7 (Go)", "mochi", "5", { BARE,
    { "receive_maximum receive_maximum_qos2",
      "QoS 1 messages beyond a receive maximum stay with it for ever, QoS 2 messages now and then: steps left out" },
  }, { aliases = "broker",
    note = "with its option NoInheritedPropertiesOnAck: otherwise its PUBACK has reason code 0x01, which PUBACK does not have (MQTT-3.4.2-1)" }),
  broker("aedes 1.2 (npm)", "aedes", "3.1.1", {}, { note = "it has no MQTT 5" }),
  broker("RabbitMQ 3.10 with its MQTT plugin (Debian)", "rabbitmq", "3.1.1", {},
    { max_qos = "1", downgrades = true,
      note = "it has no MQTT 5; QoS 2 left out: it answers PUBACK to it, which ends the connection with a protocol error that says so" }),
  broker("NATS 2.9 (Debian)", "nats", "3.1.1", {}, { max_qos = "1", note = "it has no MQTT 5; QoS 2 left out: it closes the connection" }),
}

local function other(protocol, transport, peer, spec, test, notes)
  return { protocol = protocol, transport = transport, peer = peer, spec = spec, test = test, notes = notes or "" }
end

-- What other specs run against software of others.
M.others = {
  other("MQTT codec", "bytes", "mqtt-packet 9.0 (npm)", "integration/mqtt_packet_spec.lua", "agree on random packets both ways"),
  other("MQTT 5", "TCP", "mosquitto_pub and mosquitto_sub 2.0 (Debian)", "integration/mqtt5_spec.lua",
    "carries properties to and from clients that others wrote"),
  other("MQTT 3.1.1", "TCP", "paho.mqtt.c 1.3 (Debian), the observer, and mosquitto", "unit/engine/test_observer.c", "test_round_trip"),
  other("MQTT 3.1.1, 5", "TLS", "mosquitto 2.0 (Debian)", "unit/adapter/test_mosquitto.c", "over_tls"),
  other("MQTT 3.1.1, 5", "WebSocket", "mosquitto 2.0 (Debian)", "unit/adapter/test_mosquitto.c", "over_websocket"),
  other("MQTT 5", "TCP", "mosquitto 2.0 (Debian)", "unit/adapter/test_mosquitto.c", "a_group_shares_the_messages", "shared subscriptions"),
  other("TLS", "TCP", "openssl s_server 3.0 (Debian)", "unit/link/test_tls_openssl.c", "carries_data"),
  other("CoAP client", "UDP, TCP", "aiocoap (PyPI)", "integration/coap_spec.lua", "talks to aiocoap as a client over UDP and TCP"),
  other("CoAP server", "UDP", "aiocoap (PyPI)", "integration/coap_spec.lua", "serves aiocoap"),
  other("CoAP server", "UDP", "libcoap 4.3 coap-client (Debian)", "integration/coap_spec.lua", "serves libcoap's client"),
  other("CoAP client", "UDP, TCP, DTLS with a pre-shared key", "libcoap 4.3 coap-server (Debian)", "integration/coap_spec.lua",
    "talks to libcoap's server over UDP, TCP and DTLS with a pre-shared key"),
  other("CoAP client", "UDP, DTLS with a pre-shared key and with certificates", "Californium 3.14 (Maven)", "integration/californium_spec.lua",
    "is a server for devices over UDP and DTLS, with pre-shared keys and certificates",
    "not over TCP and TLS: its TCP connector sends no CSM (RFC 8323, 5.3), which the device says"),
  other("CoAP server", "UDP, DTLS with a pre-shared key", "Californium 3.14 (Maven)", "integration/californium_spec.lua",
    "is a client of what a device serves", "certificates left out: the served side has none"),
  other("HTTP/1.1", "TCP", "nginx 1.22 (Debian)", "integration/http_spec.lua",
    "keeps a connection for each device, decodes gzip, follows redirects"),
  other("HTTP/2", "TLS with client certificates", "nginx 1.22 (Debian)", "integration/http_spec.lua",
    "speaks HTTP/2 over TLS with a certificate minted for each device"),
  other("MQTT, HTTP, CoAP", "all schemes", "the embedded targets: mosquitto, civetweb, libcoap", "integration/embedded_spec.lua",
    "serve every scheme, and end with the run"),
}

return M
