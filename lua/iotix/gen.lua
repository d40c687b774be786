-- Value generators. Each call of a generator draws the next value from the generator of the device that calls it: the same seed
-- gives the same values on any number of shards.
--
-- The keys are those of the JSON format, which C knows, in the spelling of Lua: peakHour is peak_hour, and what is in milliseconds
-- there (periodMs) is a duration here (period = "4s").
local native = require "iotix._core.native"

local M = {}

-- The constructors. There is none for what Lua does itself: an object or array is a table, correlated and custom are a function,
-- recorded values are read from iotix.data, random is the published format's.
local constructors = {
  "uniform", "normal", "exponential", "lognormal", "poisson", "weibull", "walk", "ou", "sine", "seasonal", "square", "saw",
  "triangle", "step", "sequence", "choice", "markov", "gps",
}

local function lua_name(key)
  return (key:gsub("Ms$", ""):gsub("%u", function(c) return "_" .. c:lower() end))
end

local to_lua = {} -- JSON keys that are spelled differently → how
local rules = {} -- type → Lua key → { json =, duration = }
local nested = { daily = "daily", anomalies = "anomaly" }

local function rules_of(what)
  if not rules[what] then
    local known = {}
    for _, key in ipairs(native.gen_keys(what)) do
      local name = lua_name(key)
      if name ~= key then to_lua[key] = name end
      if key ~= "type" or what == "anomaly" then known[name] = { json = key, duration = key:find("Ms$") ~= nil } end
    end
    rules[what] = known
  end
  return rules[what]
end

local function sorted(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

local convert

local function convert_value(key, rule, value)
  if rule.duration then
    local us, message = native.duration(value, true)
    if not us then return nil, key .. ": " .. message end
    return us / 1000
  end
  if key == "daily" and type(value) == "table" then
    local converted, message = convert(nested.daily, value)
    return converted, message and "daily: " .. message
  end
  if key ~= "anomalies" or type(value) ~= "table" then return value end
  local list = {}
  for i, anomaly in ipairs(value) do
    if type(anomaly) ~= "table" then return nil, "anomalies[" .. i .. "]: expected a table { type = … }, got a " .. type(anomaly) end
    local converted, message = convert(nested.anomalies, anomaly)
    if not converted then return nil, "anomalies[" .. i .. "]: " .. message end
    list[i] = converted
  end
  if #list == 0 then return nil, "anomalies: expected a list of tables { { type = … }, … }" end
  return list
end

-- The options as the JSON format has them; or nil and what is wrong.
function convert(what, t)
  local known, out = rules_of(what), {}
  for _, key in ipairs(sorted(t)) do
    local rule = known[key]
    if not rule then
      local names = sorted(known)
      local near = type(key) == "string" and (to_lua[key] and known[to_lua[key]] and to_lua[key] or native.suggest(key, names))
      return nil, "unknown key " .. (type(key) == "string" and string.format("%q", key) or tostring(key)) .. "; valid: "
        .. table.concat(names, ", ") .. (near and ('; did you mean "' .. near .. '"?') or "")
    end
    local value, message = convert_value(key, rule, t[key])
    if message then return nil, message end
    out[rule.json] = value
  end
  return out
end

-- What C says of JSON's keys.
local function in_lua_words(message)
  return (message:gsub("%a%w*", to_lua))
end

local function constructor(type_name)
  rules_of(type_name)
  return function(t)
    if t ~= nil and type(t) ~= "table" then
      error("iotix.gen." .. type_name .. ": expected a table of options, got " .. type(t), 2)
    end
    local options, problem = convert(type_name, t or {})
    if not options then error("iotix.gen." .. type_name .. ": " .. problem, 2) end
    local g, message = native.gen(type_name, options)
    if not g then error("iotix.gen." .. type_name .. ": " .. in_lua_words(message), 2) end
    return g
  end
end

rules_of("anomaly")
rules_of("daily")
for _, name in ipairs(constructors) do M[name] = constructor(name) end

local constant = constructor("constant")

--- constant(value) or constant{ value = … }
function M.constant(v)
  if type(v) ~= "table" then v = { value = v } end
  return constant(v)
end

return M
