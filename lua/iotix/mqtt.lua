-- iotix.mqtt{…}: how devices connect over MQTT 3.1.1 and 5, plainly, over TLS and over WebSocket. Names are the field's, in Lua's
-- spelling; what goes to the adapter is in its own (docs/reference/scenario-api.md, docs/reference/mqtt.md).
local connection = require "iotix._core.connection"
local options = require "iotix._core.options"

local M = {}

local seconds, put, whole = connection.seconds, connection.put, options.whole

-- Whole seconds on the wire.
local whole_seconds = function(v)
  local us, expected, problem = options.types.duration(v)
  if us and us % 1000000 == 0 and us <= 4294967294 * 1000000 then return us end
  if us then return nil, "whole seconds, at most 136 years" end
  return nil, expected, problem
end

local will_spec = {
  topic = { "pattern", required = true },
  payload = { "text", default = "" },
  qos = { "qos", default = 0 },
  retain = { "boolean", default = false },
  delay = { whole_seconds }, expiry = { whole_seconds },
  content_type = { "string" }, response_topic = { "string" }, correlation = { "string" },
  user = { connection.texts("will: user") },
}

local reconnect_spec = {
  initial = { "duration", default = 1000000 },
  max = { "duration", default = 60000000 },
  factor = { "positive", default = 2 },
  jitter = { "boolean", default = true },
  attempts = { "times", default = 0 },
}

local queue_spec = {
  max = { "count", default = 100 },
  bytes = { "size", default = 262144 },
  full = { options.choice("reject", "drop_oldest"), default = "reject" },
}

local reconnect_table = options.nested(reconnect_spec, "reconnect")

--- Converter of `reconnect`; also iotix.coap's.
function M.reconnect(v)
  if type(v) == "boolean" then return { enabled = v } end
  if type(v) ~= "table" then return nil, "true, false or a table such as { initial = \"1s\", max = \"60s\" }" end
  local t, _, problem = reconnect_table(v)
  if not t then return nil, nil, problem end
  t.enabled = true
  return t
end

--- What of it goes to the adapter; nil: its default.
function M.reconnect_option(r)
  if not r then return nil end
  if not r.enabled then return false end
  if not r.initial then return nil end
  return { initial = seconds(r.initial), max = seconds(r.max), factor = r.factor, jitter = r.jitter, attempts = r.attempts }
end

local websocket_spec = { path = { "string" }, headers = { connection.texts("websocket: headers") }, max_frame = { "size" } }

local function expiry(v)
  if v == "never" then return v end
  local us, expected = whole_seconds(v)
  if us then return seconds(us) end
  return nil, expected .. ', or "never"'
end

local spec = connection.with {
  broker = { connection.url("mqtt") },
  version = { options.choice("3.1.1", 4, "5", 5), default = "3.1.1" },
  client_id = { "pattern" },
  keep_alive = { "duration", default = 60000000 },
  clean_session = { "boolean", default = true },
  connect_timeout = { "duration", default = 10000000 },
  connect_window = { "count", default = 64 },
  inflight = { whole(1, 10000), default = 20 },
  max_packet = { "size", default = 1048576 },
  reconnect = { M.reconnect },
  queue = { options.nested(queue_spec, "queue") },
  will = { options.nested(will_spec, "will") },
  websocket = { options.nested(websocket_spec, "websocket") },
  -- version 5
  session_expiry = { expiry },
  receive_maximum = { whole(1, 65535) },
  topic_alias_maximum = { whole(0, 65535) },
  topic_aliases = { "boolean" },
  user_properties = { connection.texts("user_properties") },
  request_response_info = { "boolean" },
  request_problem_info = { "boolean" },
  follow_redirect = { "boolean" },
  auth_method = { "string" },
  response_topic = { "string" },
}

local version5 = {
  session_expiry = "sessionExpiry", receive_maximum = "receiveMaximum", topic_alias_maximum = "topicAliasMaximum",
  topic_aliases = "topicAliases", user_properties = "userProperties", request_response_info = "requestResponseInfo",
  request_problem_info = "requestProblemInfo", follow_redirect = "followRedirect", auth_method = "authMethod",
  response_topic = "responseTopic",
}

local will5 = {
  delay = { "willDelay", seconds }, expiry = { "willExpiry", seconds }, content_type = { "willContentType" },
  response_topic = { "willResponseTopic" }, correlation = { "willCorrelation" }, user = { "willUserProperties" },
}

local function fail(text, level) error("iotix.mqtt: " .. text, level + 1) end

-- The adapter's own option table (runtime/adapter/mqtt/options.h).
local function adapter_options(c, level)
  local five = c.version == "5" or c.version == 5
  local o = {
    version = five and "5" or "3.1.1", keepAlive = seconds(c.keep_alive), cleanSession = c.clean_session, inflight = c.inflight,
    maxPacket = c.max_packet, reconnect = M.reconnect_option(c.reconnect), queue = c.queue,
  }
  for _, key in ipairs(options.sorted_keys(version5)) do
    if c[key] ~= nil and not five then fail(key .. ": only MQTT 5 has it; add version = \"5\"", level + 1) end
    put(o, version5[key], c[key])
  end
  for _, key in ipairs(options.sorted_keys(will5)) do
    local value = c.will and c.will[key]
    if value ~= nil and not five then fail("will: " .. key .. ": only MQTT 5 has it; add version = \"5\"", level + 1) end
    if value ~= nil then o[will5[key][1]] = (will5[key][2] or function(v) return v end)(value) end
  end
  if c.websocket then
    o.websocket = { path = c.websocket.path, headers = c.websocket.headers, maxFrame = c.websocket.max_frame }
  end
  return o
end

function M.connection(t)
  local c = options.check(t, spec, "iotix.mqtt", 2)
  if c.keep_alive % 1000000 ~= 0 or c.keep_alive > 65535 * 1000000 then
    error("iotix.mqtt: keep_alive: whole seconds, at most 65535", 2)
  end
  if c.token then error("iotix.mqtt: token: MQTT has a username and a password; a signed token is jwt = { … }", 2) end
  local o = adapter_options(c, 2)
  c.url = c.broker
  return connection.make("mqtt", c, o, "iotix.mqtt", 2)
end

M.is_connection = connection.is_connection

return M
