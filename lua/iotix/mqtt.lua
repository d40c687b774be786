-- iotix.mqtt{…}: how devices of a group (or of the whole scenario) connect. Names are the field's, in Lua's spelling; what goes
-- to the adapter is in its own (docs/reference/scenario-api.md lists both).
local options = require "iotix._core.options"

local M = {}

local will_spec = {
  topic = { "pattern", required = true },
  payload = { "text", default = "" },
  qos = { "qos", default = 0 },
  retain = { "boolean", default = false },
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

local function reconnect(v)
  if type(v) == "boolean" then return { enabled = v } end
  if type(v) ~= "table" then return nil, "true, false or a table such as { initial = \"1s\", max = \"60s\" }" end
  local t, _, problem = reconnect_table(v)
  if not t then return nil, nil, problem end
  t.enabled = true
  return t
end

local spec = {
  broker = { "string" },
  version = { options.choice("3.1.1", 4, "5", 5), default = "3.1.1" },
  client_id = { "pattern" },
  username = { "pattern" },
  password = { "pattern" },
  keep_alive = { "duration", default = 60000000 },
  clean_session = { "boolean", default = true },
  connect_timeout = { "duration", default = 10000000 },
  connect_window = { "count", default = 64 },
  inflight = { "count", default = 20 },
  max_packet = { "size", default = 1048576 },
  source = { "string" },
  reconnect = { reconnect },
  queue = { options.nested(queue_spec, "queue") },
  will = { options.nested(will_spec, "will") },
}

local function seconds(us) return us / 1e6 end

-- The adapter's own option table (runtime/adapter/mqtt).
local function adapter_options(c)
  local o = {
    version = c.version, keepAlive = seconds(c.keep_alive), cleanSession = c.clean_session,
    connectTimeout = seconds(c.connect_timeout), connectWindow = c.connect_window, inflight = c.inflight,
    maxPacket = c.max_packet, source = c.source,
  }
  if c.reconnect then
    if not c.reconnect.enabled then
      o.reconnect = false
    elseif c.reconnect.initial then
      o.reconnect = { initial = seconds(c.reconnect.initial), max = seconds(c.reconnect.max), factor = c.reconnect.factor,
        jitter = c.reconnect.jitter, attempts = c.reconnect.attempts }
    end
  end
  if c.queue then o.queue = c.queue end
  if c.will then o.willQos, o.willRetain = c.will.qos, c.will.retain end
  return o
end

function M.connection(t)
  local c = options.check(t, spec, "iotix.mqtt", 2)
  if c.version == "5" or c.version == 5 then
    error("iotix.mqtt: version 5 is not supported yet; this release speaks MQTT 3.1.1", 2)
  end
  if c.keep_alive % 1000000 ~= 0 or c.keep_alive > 65535 * 1000000 then
    error("iotix.mqtt: keep_alive: whole seconds, at most 65535", 2)
  end
  c.options = adapter_options(c)
  return options.seal(c, "a connection")
end

--- Converter for option tables.
function M.is_connection(v)
  local c = options.unseal(v, "a connection")
  if c then return c end
  return nil, "what iotix.mqtt{…} returns"
end

return M
