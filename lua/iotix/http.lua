-- iotix.http{…}: how devices talk to a server over HTTP/1.1 and 2 (docs/reference/http.md).
local connection = require "iotix._core.connection"
local options = require "iotix._core.options"

local M = {}

local seconds, put, whole = connection.seconds, connection.put, options.whole

local function statuses(v)
  local expected = 'a list of statuses from 400 to 599 and "network"'
  if type(v) ~= "table" or #v == 0 then return nil, expected end
  local copy = {}
  for i = 1, #v do
    local s = v[i]
    if s ~= "network" and not (type(s) == "number" and s >= 400 and s <= 599 and s == math.floor(s)) then return nil, expected end
    copy[i] = s
  end
  return copy
end

local retries_table = options.nested({
  max = { whole(0, 20), required = true }, initial = { connection.at_least("1ms") }, max_delay = { connection.at_least("1ms") },
  factor = { connection.between(1, 100) }, jitter = { "boolean" }, on = { statuses },
}, "retries")

local function retries(v)
  if type(v) == "number" then
    local n, expected = whole(0, 20)(v)
    return n, expected
  end
  local t, expected, problem = retries_table(v)
  if not t then return nil, expected and "a whole number from 0 to 20, or a table { max = … }", problem end
  return { max = t.max, initial = t.initial and seconds(t.initial), maxDelay = t.max_delay and seconds(t.max_delay), factor = t.factor,
    jitter = t.jitter, on = t.on }
end

local function path(v)
  if type(v) == "string" and #v <= 1024 and v:find("^/[^%z%s]*$") then return v end
  return nil, "a path that begins with /"
end

local commands_table = options.nested({
  mode = { options.choice("poll", "serve"), default = "poll" }, path = { path }, interval = { "duration" }, wait = { "duration" },
  listen = { "string" },
}, "commands")

local function commands(v)
  local t, expected, problem = commands_table(v)
  if not t then return nil, expected, problem end
  return { mode = t.mode, path = t.path, interval = t.interval and seconds(t.interval), wait = t.wait and seconds(t.wait),
    listen = t.listen }
end

local publish_spec = { method = { options.choice("POST", "PUT", "PATCH") }, content_type = { "string" } }

-- Lua's key → converter, the adapter's key, what is done to the value
local own = {
  version = { options.choice("auto", "1.1", "2"), "version" },
  headers = { connection.texts("headers"), "headers" },
  auth = { options.choice("none", "basic", "bearer"), "auth" },
  stall_timeout = { "duration", "stallTimeout", seconds },
  serve_timeout = { "duration", "serveTimeout", seconds },
  keep_alive = { "duration", "keepAlive", seconds },
  retries = { retries, "retries" },
  redirects = { whole(0, 50), "redirects" },
  compression = { "boolean", "compression" },
  max_connections = { whole(0, 100000), "maxConnections" },
  max_response = { "size", "maxResponse" },
  max_request = { "size", "maxRequest" },
  queue = { whole(1, 100000), "queue" },
  allow_absolute = { "boolean", "allowAbsolute" },
  publish = { options.nested(publish_spec, "publish"), "publish",
    function(p) return { method = p.method, contentType = p.content_type } end },
  probe = { path, "probe" },
  commands = { commands, "commands" },
}

local spec = { url = { connection.url("http") }, client_id = { "pattern" } }
for key, rule in pairs(own) do spec[key] = { rule[1] } end
spec = connection.with(spec)

function M.connection(t)
  local c = options.check(t, spec, "iotix.http", 2)
  local o = {}
  for key, rule in pairs(own) do
    if c[key] ~= nil then put(o, rule[2], rule[3] and rule[3](c[key]) or c[key]) end
  end
  return connection.make("http", c, o, "iotix.http", 2)
end

return M
