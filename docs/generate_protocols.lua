-- Makes docs/reference/protocols.md: luajit docs/generate_protocols.lua > docs/reference/protocols.md
-- The rows are tests/integration/matrix.lua; those of brokers_spec.lua are its test cases, the others name the test that shows
-- them, which must exist.
package.path = "tests/?.lua;" .. package.path
local matrix = require "integration.matrix"

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("*a")
  f:close()
  return text
end

local function row(r)
  if not r.made then
    local path = "tests/" .. r.spec
    assert(read(path):find(r.test, 1, true), path .. " has no test \"" .. r.test .. "\"")
  end
  return string.format("| %s | %s | %s | `tests/%s`: %s | %s |", r.protocol, r.transport, r.peer, r.spec, r.test, r.notes)
end

print [[
# Protocols and what they were run against

<!-- made by docs/generate_protocols.lua from tests/integration/matrix.lua: edit that -->

| protocol | reference |
|---|---|
| MQTT 3.1.1 and 5 over TCP, TLS, WebSocket | [mqtt.md](mqtt.md), statements of the standards: [mqtt-conformance.md](mqtt-conformance.md) |
| CoAP over UDP, DTLS, TCP, TLS | [coap.md](coap.md), statements of the RFCs: [coap-conformance.md](coap-conformance.md) |
| HTTP/1.1 and HTTP/2, TLS | [http.md](http.md) |
| others | [plugin-abi.md](plugin-abi.md), [write a plugin](../how-to/write-a-plugin.md) |

Every row below is run by `tests/run.sh integration` (or `unit`, as its path says). Peers come from Debian, and from npm, PyPI,
Go modules and Maven Central, pinned (`tests/integration/peers`, `tests/integration/*/`). Where it is possible the wire is recorded
and tshark has to find no malformed packet. What a peer does not have, or does otherwise than the standard, is in its notes; all
else of `tests/integration/peers/broker.lua` (and `broker5.lua`) is asked of every broker: QoS 0 to 2 both ways, order, 64 KB, retained
messages, wills, sessions, keep-alive; of version 5 all properties, requests and responses, topic aliases, no local, retain options,
receive maximum, shared subscriptions, subscription identifiers, expiry of sessions and messages, will delay, maximum packet size, takeover.

| protocol | over | with | test | notes |
|---|---|---|---|---|]]
for _, r in ipairs(matrix.brokers) do print(row(r)) end
for _, r in ipairs(matrix.others) do print(row(r)) end
