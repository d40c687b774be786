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
  if type(level) == "function" then level(where .. ": " .. text) end
  error(where .. ": " .. text, level + 1)
end

local function describe(v)
  if type(v) == "string" then
    if #v > 8192 then return "a text of " .. #v .. " bytes" end -- patterns take 64 KB; cut, a password might lose its "@"
    v = v:gsub("^([%w+.-]*://).*@", "%1***@"):gsub("^[^/:@]*:[^/]*@", "***@"):gsub("^([%w+.-]*://[^?]*)%?.*", "%1?***") -- as url_redact
    return string.format("%q", #v > 100 and v:sub(1, 100) .. "…" or v)
  end
  if type(v) == "number" or type(v) == "boolean" then return tostring(v) end
  return "a " .. type(v)
end

local levels = { error = true, warn = true, info = true, debug = true }

--- Log level and text of log("text") or log("warn", "text"). Raises at the line of who called the function that calls this.
function M.log_line(where, level, text)
  if text == nil then return "info", tostring(level) end
  if not levels[level] then fail(where, "unknown level " .. describe(level) .. "; valid: error, warn, info, debug", 3) end
  return level, tostring(text)
end

local sealed = setmetatable({}, { __mode = "k" })

--- What an author gets of a checked table: it reads the same and cannot be changed, so that it stays checked.
function M.seal(t, what)
  local function refuse() error(what .. ": cannot be changed once it is made", 2) end
  local view = setmetatable({}, { __metatable = false, __index = t, __newindex = refuse })
  sealed[view] = { t = t, what = what }
  return view
end

--- The table behind what seal(t, what) returned; nil when it is something else.
function M.unseal(view, what)
  local s = type(view) == "table" and sealed[view]
  return s and s.what == what and s.t or nil
end

--- Raises at the line of who called the function that calls this when the run is on already.
function M.only_while_loading(what)
  if native.running() then
    error(what .. " belongs into the scenario file itself: it cannot be called while the run is on", 3)
  end
end

local function whole(low, high)
  return function(v)
    if type(v) == "number" and v >= low and v <= high and v == math.floor(v) then return v end
    return nil, "a whole number from " .. low .. " to " .. string.format("%d", high)
  end
end

M.whole = whole

--- Converters: function(value) → converted | nil, what was expected | nil, nil, the whole problem
M.types = {
  string = function(v)
    if type(v) == "string" and v ~= "" and not v:find("\0", 1, true) then return v end
    return nil, "a non-empty string" .. (type(v) == "string" and v ~= "" and " without NUL bytes" or "")
  end,
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
    local expected = 'a duration such as "500ms", "5s" or "2m"'
    return nil, message:find(": expected a duration", 1, true) and expected or expected .. " (" .. message .. ")"
  end,
  size = function(v)
    if type(v) == "number" and v >= 0 and v <= 2 ^ 40 and v == math.floor(v) then return v end
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
  times = whole(0, 1000000),
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
  local words, shown, seen = { ... }, {}, {}
  for i = 1, #words do -- 5 and "5" are shown once
    local word = tostring(words[i])
    if not seen[word] then shown[#shown + 1], seen[word] = word, true end
  end
  return function(v)
    for i = 1, #words do
      if v == words[i] then return v end
    end
    return nil, "one of: " .. table.concat(shown, ", ")
  end
end

--- A table with a specification of its own: what is wrong in it is told as key.key.
function M.nested(spec, key)
  return function(v)
    if type(v) ~= "table" then return nil, "a table { … }" end
    local problem
    local ok, result = pcall(M.check, v, spec, key, function(text) problem = text error(text, 0) end)
    if ok then return result end
    if not problem then error(result, 0) end
    return nil, nil, problem
  end
end

--- Checks `t` against `spec` { key = { type or converter, required =, default =, secret = } } and returns a new table with the
--- converted values. `level`: whose line an error names (2 = the caller of the function that calls check), or a function that
--- raises it.
function M.check(t, spec, where, level)
  if type(level) ~= "function" then level = (level or 2) + 1 end
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
    local value, expected, problem = convert(t[key])
    if value == nil and problem then fail(where, problem, level) end
    if value == nil then
      local got = rule.secret and type(t[key]) == "string" and "another text" or describe(t[key]) -- secrets are never quoted
      fail(where, key .. ": expected " .. expected .. ", got " .. got, level)
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
