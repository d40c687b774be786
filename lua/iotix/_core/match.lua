-- What a message has to be: `where` of an expectation, a function or a table of members. Says of one that does not match why, and
-- how far it is from matching.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local function show(v)
  if v == nil then return "missing" end
  if type(v) == "string" then return string.format("%q", #v > 60 and v:sub(1, 60) .. "…" or v) end
  if type(v) == "table" then
    local text = native.json(v) or "a table"
    return #text > 60 and text:sub(1, 60) .. "…" or text
  end
  return tostring(v)
end

M.show = show

-- 0 (equal) to 1 (another world).
local function distance(a, b)
  if type(a) ~= "number" or type(b) ~= "number" then return 1 end
  local d = math.abs(a - b)
  return d / (d + math.abs(b) + 1e-9)
end

-- name → function(actual, limit) → ok, words, distance
local tests = {
  min = function(a, l) return type(a) == "number" and a >= l, "at least " .. show(l), distance(a, l) end,
  max = function(a, l) return type(a) == "number" and a <= l, "at most " .. show(l), distance(a, l) end,
  above = function(a, l) return type(a) == "number" and a > l, "above " .. show(l), distance(a, l) end,
  below = function(a, l) return type(a) == "number" and a < l, "below " .. show(l), distance(a, l) end,
  equals = function(a, l) return a == l, show(l), distance(a, l) end,
  is_not = function(a, l) return a ~= l, "anything but " .. show(l), 1 end,
  matches = function(a, l) return type(a) == "string" and a:find(l) ~= nil, "a text that matches " .. show(l), 1 end,
  exists = function(a, l) return (a ~= nil) == l, l and "a value" or "no value", 1 end,
  one_of = function(a, l)
    local words = {}
    for i, v in ipairs(l) do
      if a == v then return true end
      words[i] = show(v)
    end
    return false, "one of " .. table.concat(words, ", "), 1
  end,
}

local scalar = function(v)
  if type(v) == "string" or type(v) == "number" or type(v) == "boolean" then return v end
  return nil, "a text, a number, true or false"
end

M.conditions = {
  min = { "number" }, max = { "number" }, above = { "number" }, below = { "number" }, equals = { scalar }, is_not = { scalar },
  matches = { "string" }, exists = { "boolean" }, one_of = { "table" },
}

local order = { "exists", "equals", "is_not", "one_of", "matches", "min", "above", "max", "below" }

--- A list of tests of what was checked against M.conditions; nil: there is none.
function M.tests(checked)
  local list = {}
  for _, name in ipairs(order) do
    if checked[name] ~= nil then list[#list + 1] = { test = tests[name], limit = checked[name] } end
  end
  return #list > 0 and list or nil
end

--- Whether a value passes them: ok, why not, how far.
function M.try(list, value)
  for _, t in ipairs(list) do
    local ok, words, far = t.test(value, t.limit)
    if not ok then return false, "is " .. show(value) .. ", expected " .. words, far end
  end
  return true
end

--- The member at "a.b.1" of a decoded payload.
function M.member(json, path)
  if type(json) ~= "table" then return nil end
  if json[path] ~= nil then return json[path] end
  local at = json
  for key in path:gmatch("[^.]+") do
    if type(at) ~= "table" then return nil end
    local v = at[key]
    if v == nil then v = at[tonumber(key)] end
    at = v
  end
  return at
end

local function members(where, t, level)
  local list = {}
  for _, path in ipairs(options.sorted_keys(t)) do
    if type(path) ~= "string" then
      error(where .. ": where: expected names of members, such as { t = { min = 20 } }", level + 2)
    end
    local c = t[path]
    if type(c) ~= "table" then c = { equals = c } end
    local conditions = M.tests(options.check(c, M.conditions, where .. ": where." .. path, level + 2))
    if not conditions then
      error(where .. ": where." .. path .. ": expected a value or conditions, such as { min = 20, max = 30 }", level + 2)
    end
    list[#list + 1] = { path = path, tests = conditions }
  end
  return list
end

--- Compiles `where`: function(message) → ok, why not, how far (less is nearer).
function M.compile(where, t, level)
  if t == nil then return function() return true end end
  if type(t) == "function" then
    return function(m)
      local ok, why = t(m)
      return ok, type(why) == "string" and why or nil, 0
    end
  end
  local list = members(where, t, level)
  return function(m)
    local json, why, far = m.json, nil, 0
    for _, member in ipairs(list) do
      local ok, text, d = M.try(member.tests, M.member(json, member.path))
      if not ok then
        far = far + 1 + d
        why = (why and why .. ", " or "") .. member.path .. " " .. text
      end
    end
    return why == nil, json == nil and "its payload is no JSON" or why, far
  end
end

--- Converter of the key `where`.
function M.where(v)
  if type(v) == "function" or type(v) == "table" then return v end
  return nil, "a function, or a table of members such as { t = { min = 20, max = 30 } }"
end

-- --- what came closest

local KEPT = 3

--- The nearest of what did not match, of equal ones the latest.
function M.misses() return { n = 0 } end

function M.miss(misses, text, why, far)
  misses.n = misses.n + 1
  local at = #misses + 1
  while at > 1 and misses[at - 1].far >= far do at = at - 1 end
  if at > KEPT then return end
  table.insert(misses, at, { text = text, why = why, far = far })
  misses[KEPT + 1] = nil
end

--- "; nearest: topic payload (t is 19, expected at least 20) | …"; "" without any.
function M.nearest(misses)
  local texts = {}
  for i, m in ipairs(misses) do texts[i] = m.text .. (m.why and " (" .. m.why .. ")" or "") end
  return #texts > 0 and "; nearest: " .. table.concat(texts, " | ") or ""
end

--- How a message is shown among the misses.
function M.message(m)
  local payload = #m.payload > 80 and m.payload:sub(1, 80) .. "…" or m.payload
  return m.topic .. " " .. payload
end

return M
