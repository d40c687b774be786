-- iotix.coap{…}: how devices talk to a server over CoAP, by UDP, DTLS, TCP and TLS (docs/reference/coap.md).
local connection = require "iotix._core.connection"
local mqtt = require "iotix.mqtt"
local options = require "iotix._core.options"

local M = {}

local seconds, put, whole = connection.seconds, connection.put, options.whole

local function format(v)
  if type(v) == "string" and v ~= "" then return v end
  if type(v) == "number" and v >= 0 and v <= 65535 and v == math.floor(v) then return v end
  return nil, 'a media type such as "application/json", or its number'
end

local publish_table = options.nested({
  method = { options.choice("POST", "PUT", "PATCH", "iPATCH", "FETCH") }, content_format = { format },
}, "publish")
local observe_spec = { reregister = { "boolean" } }
local serve_table = options.nested({ listen = { "string" }, timeout = { "duration" } }, "serve")
local function directory_url(v)
  if type(v) == "string" and #v <= 1024 and v:find("^/[^%z%s]*$") then return v end
  local url, expected, problem = connection.url("coap")(v)
  if url then return url end
  return nil, expected and expected .. ', or a path such as "/rd"', problem
end

local directory_table = options.nested({
  url = { directory_url }, endpoint = { "pattern" }, lifetime = { connection.at_least("1s") },
  sector = { "string" },
}, "resource_directory")

local function renamed(convert, rename)
  return function(v)
    local t, expected, problem = convert(v)
    if not t then return nil, expected, problem end
    return rename(t)
  end
end

local function block_size(v)
  for _, n in ipairs { 16, 32, 64, 128, 256, 512, 1024 } do if v == n then return v end end
  return nil, "16, 32, 64, 128, 256, 512 or 1024"
end

local own = {
  confirmable = { "boolean", "confirmable" },
  ack_timeout = { connection.at_least("1ms"), "ackTimeout", seconds },
  ack_random_factor = { connection.between(1, 10), "ackRandomFactor" },
  max_retransmit = { whole(0, 20), "maxRetransmit" },
  nstart = { whole(1, 1000), "nstart" },
  probing_rate = { "positive", "probingRate" },
  block_size = { block_size, "blockSize" },
  max_response = { "size", "maxResponse" },
  queue_max = { whole(1, 100000), "queueMax" },
  probe = { "boolean", "probe" },
  keep_alive = { "duration", "keepAlive", seconds },
  reconnect = { mqtt.reconnect, "reconnect", mqtt.reconnect_option },
  publish = { renamed(publish_table, function(p) return { method = p.method, contentFormat = p.content_format } end), "publish" },
  observe = { options.nested(observe_spec, "observe"), "observe" },
  serve = { renamed(serve_table, function(s) return { listen = s.listen, timeout = s.timeout and seconds(s.timeout) } end), "serve" },
  resource_directory = { renamed(directory_table, function(d)
    return { url = d.url, endpoint = d.endpoint, lifetime = d.lifetime and seconds(d.lifetime), sector = d.sector }
  end), "resourceDirectory" },
}

local spec = { url = { connection.url("coap") }, client_id = { "pattern" } }
for key, rule in pairs(own) do spec[key] = { rule[1] } end
spec = connection.with(spec)
-- CoAP has no place for them: devices prove themselves with a certificate or a pre-shared key.
spec.username, spec.password, spec.token, spec.jwt = nil, nil, nil, nil

function M.connection(t)
  local c = options.check(t, spec, "iotix.coap", 2)
  local o = {}
  for key, rule in pairs(own) do
    if c[key] ~= nil then
      local value = c[key]
      if rule[3] then value = rule[3](value) end
      put(o, rule[2], value)
    end
  end
  return connection.make("coap", c, o, "iotix.coap", 2)
end

return M
