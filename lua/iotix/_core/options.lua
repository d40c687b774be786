-- Option tables are validated at the door: unknown keys name the valid ones, wrong types say what is expected.
local native = require "iotix._core.native"

local M = {}

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

M.sorted_keys = sorted_keys

local function fail(where, text, level)
  error(where .. ": " .. text, level + 1)
end

local function describe(v)
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) == "number" or type(v) == "boolean" then return tostring(v) end
  return "a " .. type(v)
end

--- Converters: function(value) → converted | nil, what was expected
M.types = {
  string = function(v) if type(v) == "string" and v ~= "" then return v end return nil, "a non-empty string" end,
  text = function(v) if type(v) == "string" then return v end return nil, "a string" end,
  boolean = function(v) if type(v) == "boolean" then return v end return nil, "true or false" end,
  ["function"] = function(v) if type(v) == "function" then return v end return nil, "a function" end,
  table = function(v) if type(v) == "table" then return v end return nil, "a table" end,
  any = function(v) return v end,
  number = function(v) if type(v) == "number" and v == v then return v end return nil, "a number" end,
  positive = function(v)
    if type(v) == "number" and v > 0 and v < math.huge then return v end
    return nil, "a number above 0"
  end,
  qos = function(v) if v == 0 or v == 1 or v == 2 then return v end return nil, "0, 1 or 2" end,
  duration = function(v)
    local us, message = native.duration(v, true)
    if us then return us end
    return nil, 'a duration such as "500ms", "5s" or "2m" (' .. message .. ")"
  end,
  size = function(v)
    if type(v) == "number" and v >= 0 then return v end
    if type(v) == "string" then
      local n = native.size(v)
      if n then return n end
    end
    return nil, 'a size such as "64KB" or "1MB"'
  end,
  count = function(v)
    if type(v) == "string" then v = native.count(v) end
    if type(v) == "number" and v >= 1 and v <= 10000000 and v == math.floor(v) then return v end
    return nil, "a whole number from 1 to 10,000,000"
  end,
  name = function(v)
    if type(v) == "string" and #v <= 64 and v:find("^[A-Za-z][A-Za-z0-9_.-]*$") then return v end
    return nil, "a name of letters, digits, - _ . that starts with a letter (at most 64)"
  end,
  pattern = function(v)
    if type(v) == "string" and v ~= "" and #v <= 1024 and not v:find("[%z\r\n]") then return v end
    return nil, "a text without line breaks, such as \"sensors/${deviceId}\""
  end,
}

--- One of the listed words.
function M.choice(...)
  local words = { ... }
  return function(v)
    for i = 1, #words do
      if v == words[i] then return v end
    end
    return nil, "one of: " .. table.concat(words, ", ")
  end
end

--- Checks `t` against `spec` { key = { type or converter, required =, default = } } and returns a new table with the
--- converted values. `level`: whose line an error names (2 = the caller of the function that calls check).
function M.check(t, spec, where, level)
  level = (level or 2) + 1
  if type(t) ~= "table" then
    fail(where, "expected a table { … }, got " .. describe(t), level)
  end
  local out = {}
  for _, key in ipairs(sorted_keys(t)) do
    local rule = spec[key]
    if not rule then
      local names = sorted_keys(spec)
      local near = type(key) == "string" and native.suggest(key, names)
      fail(where, "unknown key " .. describe(key) .. "; valid: " .. table.concat(names, ", ")
        .. (near and ('; did you mean "' .. near .. '"?') or ""), level)
    end
    local convert = type(rule[1]) == "string" and M.types[rule[1]] or rule[1]
    local value, expected = convert(t[key])
    if value == nil then
      fail(where, key .. ": expected " .. expected .. ", got " .. describe(t[key]), level)
    end
    out[key] = value
  end
  for _, key in ipairs(sorted_keys(spec)) do
    local rule = spec[key]
    if out[key] == nil then
      if rule.required then fail(where, key .. " is missing", level) end
      out[key] = rule.default
    end
  end
  return out
end

return M
