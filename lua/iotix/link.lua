-- iotix.link: streams and datagrams of a device's own, for protocols that iotix does not speak. A link works in the task of the
-- device (or adapter) that opened it and is closed with it.
local connection = require "iotix._core.connection"
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local function host(v)
  if type(v) == "string" and #v < 256 and v:find("^[%w%-%._:%%]+$") then return v end
  return nil, "a host name or an address such as \"127.0.0.1\""
end

local function port(v)
  if type(v) == "number" and v >= 1 and v <= 65535 and v == math.floor(v) then return v end
  return nil, "a port from 1 to 65535"
end

local function tls(v)
  if type(v) == "boolean" then return v and {} or false end
  return connection.spec.tls[1](v)
end

-- The adapter's spelling of tls = {…}: what all links to a server share, and the credentials of this one.
local function split_tls(t)
  if not t then return nil, nil end
  local shared = {
    ca = t.ca, verify = t.verify, serverName = t.server_name, alpn = t.alpn, minVersion = t.min_version,
    maxVersion = t.max_version, ciphers = t.ciphers, ciphersuites = t.ciphersuites, resume = t.resume,
    mint = t.mint and { ca = t.mint.ca, caKey = t.mint.ca_key, days = t.mint.days, algorithm = t.mint.algorithm,
      subject = t.mint.subject } or nil,
  }
  local own = t.cert or t.key or t.psk or (t.mint and t.mint.name)
  return shared, own and {
    cert = t.cert, key = t.key, name = t.mint and t.mint.name, psk_identity = t.psk and t.psk.identity,
    psk_key = t.psk and t.psk.key,
  } or nil
end

local stream_spec = {
  host = { host, required = true },
  port = { port, required = true },
  tls = { tls },
  source = connection.spec.source,
  timeout = { "duration", default = 10000000 },
}

local datagram_spec = { host = { host, required = true }, port = { port, required = true }, source = connection.spec.source }

--- Waits until the link is up; one that does not come up is closed.
function M.opened(link, name)
  local ok, message, code = native.link_wait(link, name)
  if ok then return link end
  link:close()
  return nil, message, code
end

local function open(name, t, datagram)
  local shared, credentials = split_tls(t.tls)
  local o = { connectTimeout = (t.timeout or 10000000) / 1e6, source = t.source }
  -- An empty Lua table is an empty list in JSON: `true` says the same.
  if shared then o.tls = next(shared) and shared or true end
  local key = native.json({ t.host, t.port, datagram, o })
  local link, message, code = native.link_open(name, t.host, t.port, datagram, o, key, credentials)
  if not link then return nil, message, code end
  return M.opened(link, name)
end

--- A TCP connection, with TLS when `tls` is given. Blocks until it is up.
function M.connect(t)
  return open("iotix.link.connect", options.check(t, stream_spec, "iotix.link.connect", 2), false)
end

--- A UDP socket that talks to one peer.
function M.datagram(t)
  return open("iotix.link.datagram", options.check(t, datagram_spec, "iotix.link.datagram", 2), true)
end

return M
