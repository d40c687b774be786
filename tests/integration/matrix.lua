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
  other("HTTP/1.1", "TCP", "nginx 1.22 (Debian)", "integration/http_spec.lua",
    "keeps a connection for each device, decodes gzip, follows redirects"),
  other("HTTP/2", "TLS with client certificates", "nginx 1.22 (Debian)", "integration/http_spec.lua",
    "speaks HTTP/2 over TLS with a certificate minted for each device"),
  other("MQTT, HTTP, CoAP", "all schemes", "the embedded targets: mosquitto, civetweb, libcoap", "integration/embedded_spec.lua",
    "serve every scheme, and end with the run"),
}

return M
