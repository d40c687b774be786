--- Words for the schema validator's messages, and the one form in which two JSON values are compared.

local json = require "iotix._core.json"

local concat, sort = table.concat, table.sort
local format, sub = string.format, string.sub
local json_type = json.type

local M = {}

local MAX_SHOWN = 60 -- bytes of a value in a message

-- Depth is bounded by the decoder; a table made by hand may contain itself.
local function canonical(value, depth, seen_depth)
  local t = json_type(value)
  if t == "number" then
    return value == 0 and "0" or format("%.17g", value)
  elseif t == "string" then
    return format("%q", value)
  elseif t ~= "array" and t ~= "object" then
    return t == "boolean" and tostring(value) or tostring(t)
  end
  if depth > seen_depth then
    error("a value is nested more than " .. seen_depth .. " deep", 0)
  end
  local parts = {}
  if t == "array" then
    for i = 1, #value do
      parts[i] = canonical(value[i], depth + 1, seen_depth)
    end
    return "[" .. concat(parts, ",") .. "]"
  end
  for key, v in pairs(value) do
    parts[#parts + 1] = format("%q", tostring(key)) .. ":" .. canonical(v, depth + 1, seen_depth)
  end
  sort(parts)
  return "{" .. concat(parts, ",") .. "}"
end

--- A string that is the same for equal JSON values and for no others (1 and 1.0 are equal).
function M.canonical(value)
  return canonical(value, 1, 200)
end

--- A value as JSON, cut when it is long.
function M.quoted(value)
  local s = json.encode(value)
  if #s <= MAX_SHOWN then
    return s
  end
  local cut = MAX_SHOWN
  while cut > 1 and s:byte(cut + 1) >= 0x80 and s:byte(cut + 1) < 0xc0 do
    cut = cut - 1 -- not within a character
  end
  return sub(s, 1, cut) .. "…"
end

local articles = { array = "an array", integer = "an integer", object = "an object", null = "null" }

--- "an integer", "a string", "null".
function M.article(type_name)
  return articles[type_name] or "a " .. tostring(type_name)
end

--- What a value is: `a string ("abc")`, `1.5`, `an empty array`.
function M.describe(value)
  local t = json_type(value)
  if t == "string" then
    return 'the string ' .. M.quoted(value)
  elseif t == "array" or t == "object" then
    return next(value) == nil and "an empty " .. t or M.article(t)
  elseif t == nil then
    return "a " .. type(value) .. ", which is no JSON"
  end
  return M.quoted(value)
end

--- "a, b or c".
local function any_of(words)
  if #words < 2 then
    return words[1] or "nothing"
  end
  return concat(words, ", ", 1, #words - 1) .. " or " .. words[#words]
end

--- "an integer or a string".
function M.type_list(names)
  local words = {}
  for i = 1, #names do
    words[i] = M.article(names[i])
  end
  return any_of(words)
end

--- Optimal string alignment distance, in bytes.
local function edit_distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local new = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      new[j] = best
    end
    before, row = row, new
  end
  return row[#b]
end

--- The candidate that was probably meant, or nil.
function M.suggest(word, candidates)
  if type(word) ~= "string" or #word > 100 then
    return nil
  end
  local best, least = nil, math.floor(#word / 3) + 2
  for i = 1, #candidates do
    local c = candidates[i]
    if type(c) == "string" and #c <= 100 then
      local d = edit_distance(word:lower(), c:lower())
      if d < least then
        best, least = c, d
      end
    end
  end
  return best
end

--- Message for a value that is none of the alternatives.
function M.not_one_of(values, value)
  local words = {}
  for i = 1, math.min(#values, 40) do
    words[i] = M.quoted(values[i])
  end
  if #values > 40 then
    words[#words + 1] = format("%d more", #values - 40)
  end
  local near = M.suggest(value, values)
  local message = format("must be %s%s, is %s", #words > 1 and "one of " or "", concat(words, ", "), M.describe(value))
  return near and format('%s; did you mean "%s"?', message, near) or message
end

--- What an `if` asks, when it asks for fixed values of keys: `type is "walk"`. Nil when it is more than that.
function M.condition(schema)
  if json_type(schema) ~= "object" or json_type(schema.properties) ~= "object" then
    return nil
  end
  local words = {}
  for _, key in ipairs(json.keys(schema.properties)) do
    local s = schema.properties[key]
    if json_type(s) ~= "object" then
      return nil
    elseif s.const ~= nil then
      words[#words + 1] = format("%s is %s", key, M.quoted(s.const))
    elseif json_type(s["not"]) == "object" and s["not"].const ~= nil then
      words[#words + 1] = format("%s is not %s", key, M.quoted(s["not"].const))
    elseif json_type(s.enum) == "array" then
      local list = {}
      for i = 1, #s.enum do
        list[i] = M.quoted(s.enum[i])
      end
      words[#words + 1] = format("%s is %s", key, any_of(list))
    else
      return nil
    end
  end
  return #words > 0 and concat(words, " and ") or nil
end

--- Message for a `not` that matched.
function M.forbidden(schema)
  local required = json_type(schema) == "object" and schema.required
  if json_type(required) == "array" and #required > 0 then
    local words = {}
    for i = 1, #required do
      words[i] = M.quoted(required[i])
    end
    return format("must not have %s%s", concat(words, " and "), #words > 1 and " together" or "")
  end
  return "is what the schema's `not` forbids"
end

--- Of alternatives that each require one key and nothing else: `"a", "b"`. Otherwise nil.
function M.single_keys(alternatives)
  local words = {}
  for i = 1, #alternatives do
    local s = alternatives[i]
    local required = json_type(s) == "object" and #json.keys(s) == 1 and s.required
    if json_type(required) ~= "array" or #required ~= 1 then
      return nil
    end
    words[i] = M.quoted(required[1])
  end
  return concat(words, ", ")
end

return M
