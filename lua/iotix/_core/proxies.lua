-- The option that makes devices of a group proxies of physical ones: a list of bindings, or one with a count.
local options = require "iotix._core.options"

local M = {}

local MAX = 100000

local sources = { mqtt = "mqtt", coap = "coap", http = "http", webhook = "http" }

-- Keys that only one source has.
local own = { topic = "mqtt", broker = "mqtt", commands = "mqtt", qos = "mqtt", url = "coap", path = "http", listen = "http" }

local function source(v)
  if sources[v] then return sources[v] end
  return nil, "\"mqtt\", \"coap\" or \"http\""
end

local function url(v)
  local scheme = type(v) == "string" and v:match("^(coap[s+tcp]*)://.")
  if scheme == "coap" or scheme == "coaps" or scheme == "coap+tcp" or scheme == "coaps+tcp" then return v end
  return nil, "the URL of what is observed, such as \"coap://press-1.plant/temperature\""
end

local function path(v)
  if type(v) == "string" and v:match("^/[^?# ]*$") then return v end
  return nil, "a path that begins with / and has no ?, # or space"
end

local function listen(v)
  if type(v) == "string" and v:match("^[^/]+:%d+$") then return v end
  return nil, "an address and a port such as \"127.0.0.1:8080\""
end

-- What is said must be of its source, and what its source needs must be said.
local function whole(one, key)
  local via = one.source or "mqtt"
  for name, of in pairs(own) do
    if one[name] ~= nil and of ~= via then
      return nil, nil, string.format("%s: %s: only with source = \"%s\", and source is \"%s\"", key, name, of, via)
    end
  end
  if via == "mqtt" and not one.topic then return nil, nil, key .. ": topic is missing" end
  if via == "coap" and not one.url then
    return nil, nil, key .. ": url is missing: what is observed, such as \"coap://press-1.plant/temperature\""
  end
  if one.silent_after == 0 then return nil, nil, key .. ": silent_after: expected a duration above 0" end
  return one
end

local function broker(v)
  if type(v) ~= "string" or v == "" then return nil, "a URL such as \"mqtt://plant:1883\"" end
  local scheme = v:match("^(%a[%w+.-]*)://")
  if scheme and scheme ~= "mqtt" and scheme ~= "mqtts" then
    return nil, nil, "the scheme \"" .. scheme .. "\" cannot be observed; valid: mqtt, mqtts"
  end
  return v
end

local function binding(key, counted)
  local check = options.nested({
    topic = { "pattern" },
    url = { url },
    path = { path },
    listen = { listen },
    broker = { broker },
    commands = { "pattern" },
    qos = { "qos" },
    id = { "pattern" },
    source = { source },
    silent_after = { "duration" },
    count = counted and { "count", required = true } or nil,
  }, key)
  return function(v)
    local one, expected, problem = check(v)
    if not one then return nil, expected, problem end
    return whole(one, key)
  end
end

--- Converter of the key `proxies` of a group.
function M.check(v)
  local example = "a list such as { { topic = \"plant/press/#\" } }, or { count = 5, topic = \"plant/${proxyIndex}/#\" }"
  if type(v) ~= "table" or next(v) == nil then return nil, example end
  if #v == 0 then
    local one, _, problem = binding("proxies", true)(v)
    return one, nil, problem
  end
  if #v > MAX then return nil, "at most " .. MAX .. " bindings" end
  local list = {}
  for i = 1, #v do
    local one, expected, problem = binding("proxies[" .. i .. "]")(v[i])
    if not one then return nil, nil, problem or "proxies[" .. i .. "]: expected " .. expected end
    list[i] = one
  end
  for key in pairs(v) do
    if type(key) ~= "number" then return nil, nil, "proxies: a list has no key " .. tostring(key) end
  end
  return list
end

--- How many devices that is; nil when there are none.
function M.count(proxies)
  return proxies and (proxies.count or #proxies)
end

return M
