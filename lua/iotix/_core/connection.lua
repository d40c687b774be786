-- What connections of all protocols have in common: where they go, TLS, credentials, source addresses, pacing. iotix.mqtt, iotix.http
-- and iotix.coap put their own options beside these and make a connection of both: a sealed table whose `options` are the adapter's
-- (camelCase, runtime/adapter), and whose credentials stand apart, because every device has its own.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local whole = options.whole

-- --- converters ----------------------------------------------------------------------------------------------------------------

local function seconds(us) return us / 1e6 end

--- A number from low to high, both included.
function M.between(low, high)
  return function(v)
    if type(v) == "number" and v >= low and v <= high then return v end
    return nil, "a number from " .. low .. " to " .. high
  end
end

--- A duration from `low` on (text), as microseconds.
function M.at_least(low)
  local least = native.duration(low, true)
  return function(v)
    local us, expected = options.types.duration(v)
    if us and us >= least then return us end
    return nil, us and "a duration of " .. low .. " or more" or expected
  end
end

--- Names and texts: { name = text or list of texts }.
function M.texts(key)
  local function text(v) return (type(v) == "string" and #v <= 65536 and not v:find("%z")) or type(v) == "number" end
  return function(t)
    if type(t) ~= "table" then return nil, "a table { name = text }" end
    local copy, n = {}, 0
    for name, value in pairs(t) do
      if type(name) ~= "string" or name == "" or #name > 65536 or name:find("%z") then
        return nil, nil, key .. ": expected { name = text }, got the key " .. tostring(name):sub(1, 100)
      end
      local list = type(value) == "table" and value or { value }
      if #list == 0 then return nil, nil, key .. ": " .. name .. ": expected a text or a list of texts" end
      copy[name] = {}
      for i = 1, #list do
        if not text(list[i]) then
          return nil, nil, key .. ": " .. name .. ": expected a text or a list of texts, got "
            .. (type(list[i]) == "string" and "one with a NUL byte or of more than 64 KB" or "a " .. type(list[i]))
        end
        copy[name][i] = tostring(list[i])
        n = n + 1
      end
      if #list == 1 then copy[name] = copy[name][1] end
    end
    if n > 64 then return nil, nil, key .. ": at most 64 of them" end
    return copy
  end
end

-- PEM text or a path, which may be a pattern. A path lies beside the scenario.
local function pem(v)
  if type(v) ~= "string" or v == "" or #v > 65536 or v:find("%z") then return nil, "PEM text, or the path of a PEM file" end
  if v:find("-----BEGIN", 1, true) or v:find("^/") or v:find("^%${") then return v end
  if v:find("[\r\n]") then return nil, "PEM text, or the path of a PEM file" end
  return native.script_dir .. "/" .. v
end

local function secret(v)
  if type(v) == "string" and v ~= "" and #v <= 65536 and not v:find("%z") then return v end
  return nil, "a string of 1 to 65536 bytes, none of them NUL"
end

local function words(v)
  if type(v) ~= "table" or #v == 0 or #v > 16 then return nil, "a list of up to 16 strings" end
  local copy = {}
  for i = 1, #v do
    if type(v[i]) ~= "string" or v[i] == "" or #v[i] > 255 then return nil, "a list of up to 16 strings" end
    copy[i] = v[i]
  end
  for key in pairs(v) do if type(key) ~= "number" then return nil, "a list of up to 16 strings" end end
  return copy
end

-- --- TLS -----------------------------------------------------------------------------------------------------------------------

local versions = options.choice("1.2", "1.3")

local psk_spec = {
  identity = { "pattern", required = true },
  key = { function(v)
    if type(v) == "string" and #v <= 1024 and (v:find("%${") or (v:find("^%x+$") and #v % 2 == 0)) then return v end
    return nil, "hex digits, two a byte"
  end, required = true, secret = true },
}

local mint_spec = {
  ca = { pem, required = true },
  ca_key = { pem, required = true, secret = true },
  name = { "pattern", default = "${deviceId}" },
  days = { whole(1, 3650) },
  algorithm = { options.choice("EC", "RSA") },
  subject = { "string" },
}

local tls_spec = {
  ca = { pem }, cert = { pem }, key = { pem, secret = true },
  psk = { options.nested(psk_spec, "psk") },
  mint = { options.nested(mint_spec, "mint") },
  server_name = { "string" },
  verify = { "boolean" },
  alpn = { words },
  min_version = { versions }, max_version = { versions },
  ciphers = { "string" }, ciphersuites = { "string" },
  resume = { "boolean" },
}

local tls_table = options.nested(tls_spec, "tls")

local function tls(v)
  local t, expected, problem = tls_table(v)
  if not t then return nil, expected, problem end
  if (t.cert == nil) ~= (t.key == nil) then
    return nil, nil, "tls: " .. (t.cert and "key" or "cert") .. " is missing: a certificate and its key belong together"
  end
  if t.mint and t.cert then return nil, nil, "tls: cert or mint: a certificate is given or minted, not both" end
  if t.psk and (t.cert or t.mint) then return nil, nil, "tls: psk goes without a certificate" end
  return t
end

-- What of it is the target's, as runtime/link/transport.h has it.
local function tls_options(t)
  local mint = t.mint
  return {
    ca = t.ca, verify = t.verify, serverName = t.server_name, alpn = t.alpn, minVersion = t.min_version, maxVersion = t.max_version,
    ciphers = t.ciphers, ciphersuites = t.ciphersuites, resume = t.resume,
    mint = mint and { ca = mint.ca, caKey = mint.ca_key, days = mint.days, algorithm = mint.algorithm, subject = mint.subject },
  }
end

-- --- JSON Web Tokens -----------------------------------------------------------------------------------------------------------

local function claims(v)
  local text = type(v) == "table" and native.json(v)
  if not text or (#v > 0) then return nil, 'a table of claims, such as { sub = "${deviceId}", aud = "iot" }' end
  if #text > 16384 then return nil, nil, "jwt: claims: at most 16 KB" end
  return v
end

local jwt_spec = {
  algorithm = { options.choice("HS256", "RS256", "ES256"), required = true },
  key = { secret, required = true, secret = true },
  key_id = { "pattern" },
  claims = { claims },
  ttl = { M.at_least("5s"), default = 3600000000 },
  refresh = { M.between(0, 1), default = 0.8 },
  as = { options.choice("password", "token") },
}

local jwt_table = options.nested(jwt_spec, "jwt")

local function jwt(v)
  local t, expected, problem = jwt_table(v)
  if not t then return nil, expected, problem end
  if t.algorithm ~= "HS256" then
    t.key, expected = pem(t.key)
    if not t.key then return nil, nil, "jwt: key: expected " .. expected end
  end
  return t
end

-- --- where from and how fast ---------------------------------------------------------------------------------------------------

local function source(v)
  if type(v) == "string" and v ~= "" then return v end
  local list = type(v) == "table" and words(v)
  if list then return list end
  return nil, 'an address, a network, a range or a list of those, such as "127.0.0.0/24"'
end

local pacing_table = options.nested({
  target = { M.at_least("1ms") }, min_rate = { "positive" }, max_failures = { M.between(0, 1) },
}, "connect_pacing")

local function pacing(v)
  if v == "fixed" or v == "adaptive" then return v end
  if type(v) ~= "table" then return nil, '"fixed", "adaptive" or a table such as { target = "200ms" }' end
  local t, _, problem = pacing_table(v)
  if not t then return nil, nil, problem end
  return { target = t.target and seconds(t.target), minRate = t.min_rate, maxFailures = t.max_failures }
end

-- --- a connection --------------------------------------------------------------------------------------------------------------

local schemes = {
  mqtt = { "mqtt", "mqtts", "ws", "wss" }, http = { "http", "https" }, coap = { "coap", "coaps", "coap+tcp", "coaps+tcp" },
}

local made = {} -- connections of this scenario's file → true
local embedded = {} -- schemes of the run's own targets that a connection of this scenario goes to

--- Converter of a target's URL.
function M.url(protocol)
  local valid = schemes[protocol]
  return function(v)
    if v == "embedded" then return protocol .. "://embedded" end
    if type(v) ~= "string" or v == "" or #v > 1024 or v:find("[%z%s]") then
      return nil, 'a URL such as "' .. protocol .. '://host", or "embedded"'
    end
    local scheme = v:match("^([%w+.-]+)://")
    if not scheme then
      if protocol == "mqtt" then return v end -- "host:port"
      return protocol .. "://" .. v
    end
    for i = 1, #(valid or {}) do if valid[i] == scheme:lower() then return v end end
    if not valid then return v end
    return nil, nil, "a URL of iotix." .. protocol .. " begins with " .. table.concat(valid, "://, ") .. "://; other protocols: "
      .. (protocol ~= "http" and "iotix.http, " or "") .. (protocol ~= "coap" and "iotix.coap, " or "")
      .. (protocol ~= "mqtt" and "iotix.mqtt, " or "") .. "iotix.connection"
  end
end

M.spec = {
  username = { "pattern" },
  password = { secret, secret = true },
  token = { secret, secret = true },
  tls = { tls },
  jwt = { jwt },
  connect_timeout = { M.at_least("1ms") },
  connect_window = { "count" },
  connect_rate = { M.between(0, 10000000) },
  connect_pacing = { pacing },
  source = { source },
  timeout = { M.at_least("1ms") },
}

--- The common part and a protocol's own.
function M.with(own)
  local spec = {}
  for key, rule in pairs(M.spec) do spec[key] = rule end
  for key, rule in pairs(own) do spec[key] = rule end
  return spec
end

local function put(o, key, value) if value ~= nil then o[key] = value end end

-- device/credentials.h, without username, password and client id, which a group has beside them
local function credentials_of(c)
  local t, out = c.tls or {}, {}
  put(out, "token", c.token)
  put(out, "tls_cert", t.cert)
  put(out, "tls_key", t.key)
  put(out, "tls_name", t.mint and t.mint.name)
  put(out, "psk_identity", t.psk and t.psk.identity)
  put(out, "psk_key", t.psk and t.psk.key)
  local j = c.jwt
  if j then
    out.jwt = { algorithm = j.algorithm, key = j.key, key_id = j.key_id, claims = j.claims, ttl = j.ttl, refresh = j.refresh,
      as = j.as or (c.protocol == "mqtt" and "password" or "token") }
  end
  return out
end

local function copy_of(t)
  local copy = {}
  for key, value in pairs(t) do copy[key] = value end
  return copy
end

-- For dev:open: two texts, so that devices that differ in their credentials alone share a target.
local function texts_of(c)
  local identity = copy_of(c.credentials or {})
  put(identity, "client_id", c.client_id)
  put(identity, "username", c.username)
  put(identity, "password", c.password)
  if c.will then identity.will = { topic = c.will.topic, payload = c.will.payload } end
  local o = c.options
  if c.will then
    o = copy_of(o)
    o.willQos, o.willRetain = c.will.qos, c.will.retain
  end
  return native.json { protocol = c.protocol, url = c.url, options = o }, native.json(identity)
end

--- Completes what options.check returned: `o` are the adapter's own options. level as in options.check.
function M.make(protocol, c, o, where, level)
  local function fail(text) error(where .. ": " .. text, level + 1) end
  c.protocol = protocol
  if c.jwt and (c.jwt.as or (protocol == "mqtt" and "password" or "token")) == "password" and c.password then
    fail("password or jwt: a token takes the place of the password")
  end
  if c.jwt and c.token then fail("token or jwt, not both") end
  put(o, "connectTimeout", c.connect_timeout and seconds(c.connect_timeout))
  put(o, "connectWindow", c.connect_window)
  put(o, "connectRate", c.connect_rate)
  put(o, "connectPacing", c.connect_pacing)
  put(o, "source", c.source)
  put(o, "timeout", c.timeout and seconds(c.timeout))
  if c.tls then o.tls = tls_options(c.tls) end
  c.options = o
  c.credentials = credentials_of(c)
  local scheme = c.url and c.url:match("^([%w+.-]+)://embedded%f[%z/:?]")
  if scheme and not native.running() then embedded[scheme:lower()] = true end
  if not c.url and protocol ~= "mqtt" and not native.running() then M.default_used[protocol] = true end
  if not native.running() then made[c] = true end
  return options.seal(c, "a connection")
end

--- Protocols of connections without a URL of their own: { [protocol] = true }.
M.default_used = {}

--- Schemes of the run's own targets that connections of this file go to, sorted.
function M.embedded() return options.sorted_keys(embedded) end

--- How many connections this file makes that are not among `used` (a set): what is left for behaviours to open; and whether one of
--- them goes to the scenario's broker, whatever that is.
function M.further(used)
  local n, to_broker = 0, false
  for c in pairs(made) do
    if not used[c] then
      n = n + 1
      to_broker = to_broker or (c.protocol == "mqtt" and not c.url)
    end
  end
  return n, to_broker
end

--- Converter for option tables.
function M.is_connection(v)
  local c = options.unseal(v, "a connection")
  if c then return c end
  return nil, "what iotix.mqtt{…}, iotix.http{…} or iotix.coap{…} returns"
end

--- A URL or a connection, for the keys http and coap of a scenario.
function M.target(protocol)
  local url = M.url(protocol)
  return function(v)
    local c = options.unseal(v, "a connection")
    if c and c.protocol == protocol then return { url = c.url, connection = c } end
    if c then return nil, nil, protocol .. ": expected what iotix." .. protocol .. " returns, got a connection of " .. c.protocol end
    local text, expected, problem = url(v)
    if text then return { url = text } end
    return nil, expected, problem
  end
end

native.connection_reader(function(v)
  local c = options.unseal(v, "a connection")
  if not c then return nil, "what iotix.mqtt{…}, iotix.http{…} or iotix.coap{…} returns" end
  if not c.target_text then -- also of iotix.connection and of the scenario's own adapters
    c.target_text, c.identity_text = texts_of(c)
    if not c.target_text or not c.identity_text then return nil, "a connection whose options are JSON" end
  end
  return c.target_text, c.identity_text
end)

M.seconds, M.put = seconds, put

return M
