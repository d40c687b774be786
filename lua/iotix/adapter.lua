-- iotix.adapter{…}: a protocol in Lua. Each connection of a device runs one task, which calls `connect` and then works off what
-- the device publishes and subscribes, in order; requests and observations get a task each. What goes wrong in it ends the connection,
-- which is made anew after a while.
local connection = require "iotix._core.connection"
local json = require "iotix._core.json"
local mqtt = require "iotix.mqtt"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local links = require "iotix.link"

local M = {}

local scheme_text = "a name of at most 15 lower case letters, digits, + - . that starts with a letter"

local function scheme(v)
  if type(v) == "string" and #v <= 15 and v:find("^[a-z][a-z0-9+.-]*$") then return v end
  return nil, scheme_text
end

local function schemes(v)
  if type(v) == "string" then v = { v } end
  if type(v) ~= "table" or #v < 1 or #v > 4 then return nil, "a list of 1 to 4 URL schemes" end
  for i = 1, #v do
    if not scheme(v[i]) then return nil, "a list of URL schemes, each " .. scheme_text end
  end
  return v
end

local function port(v)
  if type(v) == "number" and v >= 1 and v <= 65535 and v == math.floor(v) then return v end
  return nil, "a port from 1 to 65535"
end

local adapter_spec = {
  name = { scheme, required = true },
  schemes = { schemes },
  default_port = { port, default = 0 },
  options = { "table", default = {} },
  connect = { "function", required = true },
  publish = { "function", required = true },
  subscribe = { "function" },
  unsubscribe = { "function" },
  disconnect = { "function" },
  request = { "function" },
  observe = { "function" },
  serve = { "function" },
  unserve = { "function" },
  notify = { "function" },
}

-- A connection as its author sees it.
local Conn = {}
Conn.__index = Conn
Conn.__metatable = false

local handles = setmetatable({}, { __mode = "k" })
local function handle(conn, what)
  local h = type(conn) == "table" and handles[conn]
  if not h then error("conn:" .. what .. ": expected the connection; call it with a colon, conn:" .. what .. "(…)", 3) end
  return h
end

--- A text of the device's identity: "client_id", "username", "password", "token"; nil when it has none.
function Conn:field(name)
  return native.adapter_field(handle(self, "field"), name)
end

--- A TCP link to where the URL says, with the connection's options tls and source.
function Conn:dial()
  local link, message, code = native.adapter_dial(handle(self, "dial"), false)
  if not link then return nil, message, code end
  return links.opened(link, "conn:dial")
end

--- The same over UDP.
function Conn:dial_datagram()
  local link, message, code = native.adapter_dial(handle(self, "dial_datagram"), true)
  if not link then return nil, message, code end
  return links.opened(link, "conn:dial_datagram")
end

--- A message for the device.
function Conn:message(topic, payload, o)
  local h = handle(self, "message")
  return native.adapter_message(h, topic, payload, o and o.qos, o and o.retain)
end

local ask_spec = {
  method = { "string", default = "GET" },
  path = { "string", required = true },
  payload = { "string" },
  headers = { "table" },
  timeout = { "duration" },
}

--- Somebody asks what the device serves (dev:serve). Waits for its answer: { status, body, headers } | nil, message, code.
function Conn:ask(request)
  local h = handle(self, "ask")
  local r = options.check(request, ask_spec, "conn:ask", 2)
  if not r.path:find("^/") or #r.path > 8192 or r.path:find("%z") then
    error('conn:ask: path: expected a path such as "/temperature" of at most 8192 bytes without NUL', 2)
  end
  local status, body, headers = native.adapter_ask(h, r.timeout or 10000000, r.method, r.path, r.payload, r.headers)
  if not status then return nil, body, headers end
  return { status = status, body = body, headers = headers }
end

--- Where others reach what the device serves: what dev:served_at() returns.
function Conn:serves_at(url)
  local h = handle(self, "serves_at")
  if type(url) ~= "string" or #url > 1024 then error("conn:serves_at: expected a URL of at most 1024 bytes", 2) end
  native.adapter_serves(h, url)
end

--- The connection is lost: the device is told, its tasks end, it is made anew.
function Conn:offline(message, code)
  native.adapter_fail(handle(self, "offline"), message, code)
end

local waits = setmetatable({}, { __mode = "k" })

--- Waits until another task of the connection wakes this key; returns what it gave.
function Conn:wait(key, timeout)
  handle(self, "wait")
  if key == nil then error("conn:wait: expected a key", 2) end
  local all = waits[self]
  if all[key] then error("conn:wait: another task waits for " .. tostring(key) .. " already", 2) end
  local us
  if timeout ~= nil then
    local message
    us, message = native.duration(timeout, true)
    if not us then error("conn:wait: timeout: " .. message, 2) end
  end
  local parker = native.parker()
  local w = { parker = parker }
  all[key] = w
  local ok, message, code = native.park(parker, "conn:wait", us)
  all[key] = nil
  if not ok then return nil, message, code end
  return w.value
end

--- Wakes who waits for a key, with a value (default true). Returns whether somebody did.
function Conn:wake(key, value)
  handle(self, "wake")
  local w = waits[self][key]
  if not w then return false end
  w.value = value == nil or value
  return native.unpark(w.parker)
end

--- A task of the connection that ends with it.
function Conn:spawn(fn, ...)
  handle(self, "spawn")
  if type(fn) ~= "function" then error("conn:spawn: expected a function", 2) end
  return native.spawn(fn, ...)
end

-- status, body, headers of what `request` returns, or tells: a text, or { status =, body =, headers = }.
local response_spec = { status = { "count", default = 200 }, body = { "string", default = "" }, headers = { "table" } }
local function response_of(what, answer)
  if type(answer) == "string" then return 200, answer end
  if type(answer) ~= "table" then error(what .. ": expected a text or { status =, body =, headers = }, got a " .. type(answer), 0) end
  local r = options.check(answer, response_spec, what, function(text) error(text, 0) end)
  return r.status, r.body, r.headers
end

-- The task of a request.
local function answer(h, spec, conn, number, request)
  if not native.adapter_work(h, number) then return end
  local response, message, code = spec.request(conn, request)
  if response == nil or response == false then
    native.adapter_refuse(h, number, message, code)
  else
    native.adapter_answer(h, number, false, response_of("request", response))
  end
end

-- The task of an observation. It ends with the function, and when it is cancelled.
local function observe(h, spec, conn, number, request)
  if not native.adapter_work(h, number) then return end
  local ok, message, code = spec.observe(conn, request, function(response)
    return native.adapter_answer(h, number, true, response_of("observe: tell", response))
  end)
  if ok then message, code = "the observation has ended", "closed" end
  native.adapter_refuse(h, number, message, code)
end

local exchanges = { request = answer, observe = observe }

local function perform(spec, conn, kind, topic, payload, qos, retain)
  if kind == "publish" then
    return spec.publish(conn, { topic = topic, payload = payload, qos = qos, retain = retain })
  end
  if kind == "subscribe" then return spec.subscribe(conn, topic, qos) end
  if kind == "serve" then return spec.serve(conn, topic, payload ~= "" and json.decode(payload) or {}) end
  if kind == "unserve" then return spec.unserve(conn, topic) end
  if kind == "notify" then return spec.notify(conn, topic) end
  if not spec.unsubscribe then return true end
  return spec.unsubscribe(conn, topic)
end

local function work(spec, conn, h)
  while true do
    local kind, topic, payload, qos, retain = native.adapter_next(h)
    if kind == "close" then
      spec.disconnect(conn)
      return
    end
    if exchanges[kind] then
      local task, message = native.spawn(exchanges[kind], h, spec, conn, topic, payload) -- number, request
      if not task then native.adapter_refuse(h, topic, message, "limit") end
    elseif kind then
      local ok, message, code = perform(spec, conn, kind, topic, payload, qos, retain)
      native.adapter_done(h, ok, message, code)
    end
  end
end

-- The task of a connection.
local function run(h, spec)
  local conn = {}
  handles[conn], waits[conn] = h, {}
  conn.url, conn.options = native.adapter_info(h)
  setmetatable(conn, Conn)
  local ok, message, code = spec.connect(conn)
  if not ok then
    native.adapter_fail(h, message, code)
    return
  end
  if native.adapter_online(h, ok == "session") then work(spec, conn, h) end
end

local function url_of(valid)
  return function(v)
    local found = type(v) == "string" and #v <= 1024 and v:match("^([%a][%w+.-]*)://[^%s]+$")
    if found and (not valid or valid[found:lower()]) then return v end
    local names = {}
    for _, name in ipairs(valid or { "line" }) do names[#names + 1] = name .. "://host:port" end
    return nil, "a URL such as " .. table.concat(names, " or ")
  end
end

-- What every connection has, and a key or two. Requests and their timeout are for adapters that have some.
local function with(more)
  local spec = connection.with(more)
  spec.timeout, spec.client_id, spec.reconnect = nil, { "pattern" }, { mqtt.reconnect }
  return spec
end

local plain_spec = with({ url = { url_of(nil), required = true }, options = { "table" } })

--- A connection over a protocol plugin: its URL, its own options as it names them, and what every adapter understands.
function M.connection(t)
  local c = options.check(t, plain_spec, "iotix.connection", 2)
  local o = {}
  for k, v in pairs(c.options or {}) do
    if type(k) ~= "string" then error("iotix.connection: options: expected a table { name = value }", 2) end
    o[k] = v
  end
  if c.reconnect ~= nil then o.reconnect = mqtt.reconnect_option(c.reconnect) end
  return connection.make(c.url:match("^[^:]+"):lower(), c, o, "iotix.connection", 2)
end

local common = with {}

local function option_specs(declared)
  local checked = {}
  for _, key in ipairs(options.sorted_keys(declared)) do
    local kind = declared[key]
    if type(key) ~= "string" or common[key] or key == "url" then
      error("iotix.adapter: options: " .. tostring(key) .. " is not a name that an option of an adapter can have", 3)
    end
    if not options.types[kind] then
      error("iotix.adapter: options: " .. key .. ": expected one of: "
        .. table.concat(options.sorted_keys(options.types), ", "), 3)
    end
    checked[key] = { kind }
  end
  return checked
end

--- Registers an adapter; returns what makes connections of it.
function M.adapter(t)
  options.only_while_loading("iotix.adapter")
  local a = options.check(t, adapter_spec, "iotix.adapter", 2)
  a.schemes = a.schemes or { a.name }
  local own_spec = option_specs(a.options)
  local ok, message = native.adapter_new(a.name, a.schemes, a.default_port, run, a)
  if not ok then error("iotix.adapter: " .. message, 2) end
  local valid = {}
  for i, word in ipairs(a.schemes) do
    valid[i] = word
    valid[word] = true
  end
  own_spec.url = { url_of(valid), required = true }
  local spec, where = with(own_spec), 'iotix.adapter "' .. a.name .. '"'
  return function(given)
    local c = options.check(given, spec, where, 2)
    local o = { reconnect = mqtt.reconnect_option(c.reconnect) }
    for key in pairs(a.options) do
      if c[key] ~= nil then
        o.options = o.options or {}
        o.options[key] = c[key]
      end
    end
    return connection.make(a.name, c, o, where, 2)
  end
end

return M
