-- The option that makes devices of a group proxies of physical ones: a list of bindings, or one with a count.
local options = require "iotix._core.options"

local M = {}

local MAX = 100000

local later = { coap = true, http = true, webhook = true }

local function source(v)
  if v == "mqtt" then return v end
  if later[v] then return nil, nil, "physical devices behind " .. v .. " cannot be reached yet; valid: mqtt" end
  return nil, "\"mqtt\""
end

local function broker(v)
  if type(v) ~= "string" or v == "" then return nil, "a URL such as \"mqtt://plant:1883\"" end
  local scheme = v:match("^(%a[%w+.-]*)://")
  if scheme and scheme ~= "mqtt" then return nil, nil, "the scheme \"" .. scheme .. "\" cannot be observed; valid: mqtt" end
  return v
end

local function binding(key, counted)
  return options.nested({
    topic = { "pattern", required = true },
    broker = { broker },
    commands = { "pattern" },
    qos = { "qos" },
    id = { "pattern" },
    source = { source },
    silent_after = { "duration" },
    count = counted and { "count", required = true } or nil,
  }, key)
end

--- Converter of the key `proxies` of a group.
function M.check(v)
  local example = "a list such as { { topic = \"plant/press/#\" } }, or { count = 5, topic = \"plant/${proxyIndex}/#\" }"
  if type(v) ~= "table" or next(v) == nil then return nil, example end
  if #v == 0 then
    local one, _, problem = binding("proxies", true)(v)
    if one and one.silent_after == 0 then one, problem = nil, "proxies: silent_after: expected a duration above 0" end
    return one, nil, problem
  end
  if #v > MAX then return nil, "at most " .. MAX .. " bindings" end
  local list = {}
  for i = 1, #v do
    local one, expected, problem = binding("proxies[" .. i .. "]")(v[i])
    if one and one.silent_after == 0 then
      one, problem = nil, "proxies[" .. i .. "]: silent_after: expected a duration above 0"
    end
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
