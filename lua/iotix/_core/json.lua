--- Strict JSON (RFC 8259) for what people write by hand: device models and schemas.
--
-- It differs from lua-cjson in what a person needs: an error has line and column, a duplicate key is an error, arrays
-- and objects stay apart (an empty one too), object keys keep their order, and every value's place in the text can be
-- looked up by its JSON pointer. It is not on the path of any payload. Patterns are only used on short pieces of the text:
-- in a scenario's state they take no long ones.
--
-- Arrays and objects are tables with a metatable: `array_mt`, or one per object that holds its keys in order. Null is
-- `json.null`. Numbers are doubles. No globals, no state, no I/O.

local byte, char, find, format, sub = string.byte, string.char, string.find, string.format, string.sub
local gsub, match = string.gsub, string.match
local concat, sort = table.concat, table.sort
local floor = math.floor

local M = {}

M.max_depth = 64
M.max_bytes = 16 * 1024 * 1024

local array_mt = { __jsontype = "array" }
M.array_mt = array_mt
M.null = setmetatable({}, { __jsontype = "null", __tostring = function() return "null" end, __newindex = function()
  error("json.null cannot be changed", 2)
end })

--- JSON type of a decoded value: "null", "boolean", "number", "string", "array", "object"; nil for anything else. A
-- table without a mark of its own is an array when it has an element 1. A userdata is cjson's null.
-- @param value any
-- @return string|nil
function M.type(value)
  local t = type(value)
  if t == "table" then
    local mt = getmetatable(value)
    local mark = type(mt) == "table" and mt.__jsontype
    if mark then
      return mark
    end
    return value[1] ~= nil and "array" or "object"
  elseif t == "userdata" or t == "nil" then
    return "null"
  elseif t == "number" or t == "string" or t == "boolean" then
    return t
  end
  return nil
end

--- Marks a table as an array.
-- @param t table|nil
-- @return table
function M.array(t)
  return setmetatable(t or {}, array_mt)
end

--- Marks a table as an object; `keys` is the order of its keys, when that matters.
-- @param t table|nil
-- @param keys string[]|nil
-- @return table
function M.object(t, keys)
  return setmetatable(t or {}, { __jsontype = "object", keys = keys })
end

--- Keys of an object: in the order of the text when it is known, otherwise sorted. Always the same order.
-- @param object table
-- @return string[]
function M.keys(object)
  local mt = getmetatable(object)
  local order = type(mt) == "table" and mt.keys
  local keys, seen = {}, {}
  if order then
    for i = 1, #order do
      local key = order[i]
      if object[key] ~= nil then
        keys[#keys + 1] = key
        seen[key] = true
      end
    end
  end
  local rest = {}
  for key in pairs(object) do
    if not seen[key] then
      rest[#rest + 1] = key
    end
  end
  sort(rest, function(a, b) return tostring(a) < tostring(b) end)
  for i = 1, #rest do
    keys[#keys + 1] = rest[i]
  end
  return keys
end

--- One step of a JSON pointer, escaped (RFC 6901).
-- @param token string|integer
-- @return string
function M.escape_pointer(token)
  token = gsub(tostring(token), "~", "~0")
  return (gsub(token, "/", "~1"))
end

-- Length of the well-formed UTF-8 sequence at i, nil when there is none (RFC 3629).
local function utf8_length(s, i)
  local a, b, c, d = byte(s, i, i + 3)
  local function tail(x) return x and x >= 0x80 and x <= 0xbf end
  if a >= 0xc2 and a <= 0xdf then
    return tail(b) and 2 or nil
  elseif a >= 0xe0 and a <= 0xef then
    local ok = tail(b) and tail(c) and not (a == 0xe0 and b < 0xa0) and not (a == 0xed and b > 0x9f)
    return ok and 3 or nil
  elseif a >= 0xf0 and a <= 0xf4 then
    local ok = tail(b) and tail(c) and tail(d) and not (a == 0xf0 and b < 0x90) and not (a == 0xf4 and b > 0x8f)
    return ok and 4 or nil
  end
  return nil
end

--- UTF-8 of a code point.
-- @param cp integer
-- @return string
function M.utf8_char(cp)
  if cp < 0x80 then
    return char(cp)
  elseif cp < 0x800 then
    return char(0xc0 + floor(cp / 64), 0x80 + cp % 64)
  elseif cp < 0x10000 then
    return char(0xe0 + floor(cp / 4096), 0x80 + floor(cp / 64) % 64, 0x80 + cp % 64)
  end
  return char(0xf0 + floor(cp / 262144), 0x80 + floor(cp / 4096) % 64, 0x80 + floor(cp / 64) % 64, 0x80 + cp % 64)
end

-- The decoder's errors travel as tables through error(); anything else is a bug and is raised again.
local function fail(state, at, text, ...)
  error({ at = at, message = format(text, ...), state = state }, 0)
end

local function place(text, at)
  local line, last = 1, 0
  for i = 1, at - 1 do
    if byte(text, i) == 10 then
      line, last = line + 1, i
    end
  end
  return line, at - last
end

-- What stands at i, for "expected X, found Y".
local function found(text, i)
  local c = sub(text, i, i)
  if c == "" then
    return "the end of the text"
  end
  local word = match(sub(text, i, i + 19), "^[%w_]+")
  if word then
    return '"' .. word .. '"'
  end
  if find(c, "^%c") then
    return format("the control character 0x%02x", byte(c))
  end
  return "'" .. (byte(c) < 0x80 and c or format("\\x%02x", byte(c))) .. "'"
end

local function skip_space(state, i)
  local text = state.text
  local c = byte(text, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(text, i)
  end
  if c == 47 or c == 35 then -- / #
    fail(state, i, "JSON has no comments")
  end
  return i
end

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function unicode_escape(state, i) -- i at the backslash
  local text = state.text
  local hex = match(sub(text, i, i + 5), "^\\u(%x%x%x%x)")
  if not hex then
    fail(state, i, "\\u needs four hexadecimal digits")
  end
  local cp = tonumber(hex, 16)
  if cp >= 0xdc00 and cp <= 0xdfff then
    fail(state, i, "a low surrogate \\u%s without a high one before it", hex)
  end
  if cp < 0xd800 or cp > 0xdbff then
    return cp, i + 6
  end
  local low = match(sub(text, i + 6, i + 11), "^\\u([dD][c-fC-F]%x%x)")
  if not low then
    fail(state, i, "a high surrogate \\u%s without a low one behind it", hex)
  end
  return 0x10000 + (cp - 0xd800) * 0x400 + tonumber(low, 16) - 0xdc00, i + 12
end

-- The next character of a string that is more than itself: a quote, a backslash, a control character, a byte over 127.
local function find_special(text, i)
  local step = 64
  while i <= #text do
    local at = find(sub(text, i, i + step - 1), '[%z\1-\31"\\\128-\255]')
    if at then
      return i + at - 1
    end
    i, step = i + step, 1024
  end
end

local function decode_string(state, start)
  local text = state.text
  local parts, i = {}, start + 1
  while true do
    local stop = find_special(text, i)
    if not stop then
      fail(state, start, "this string has no closing quote")
    end
    parts[#parts + 1] = sub(text, i, stop - 1)
    local c = byte(text, stop)
    if c == 34 then
      return concat(parts), stop + 1
    elseif c == 92 then
      local e = sub(text, stop + 1, stop + 1)
      if e == "u" then
        local cp
        cp, i = unicode_escape(state, stop)
        if cp == 0 and not state.allow_nul then
          fail(state, stop, "\\u0000 (a NUL character) is not allowed in a string")
        end
        parts[#parts + 1] = M.utf8_char(cp)
      elseif escapes[e] then
        parts[#parts + 1] = escapes[e]
        i = stop + 2
      else
        fail(state, stop, 'invalid escape; valid: \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX')
      end
    elseif c < 32 then
      fail(state, stop, c == 10 and "a string cannot go over the end of a line; write \\n"
        or "control character 0x%02x in a string; write it as an escape", c)
    else
      local n = utf8_length(text, stop)
      if not n then
        fail(state, stop, "invalid UTF-8 (byte 0x%02x)", c)
      end
      parts[#parts + 1] = sub(text, stop, stop + n - 1)
      i = stop + n
    end
  end
end

local MAX_NUMBER = 1000 -- characters

local function decode_number(state, i)
  local text = match(sub(state.text, i, i + MAX_NUMBER), "^[%w_.+-]*")
  local stop = match(text, "^%-?%d+()")
  if not stop then
    fail(state, i, "expected a value, found %s", found(state.text, i))
  elseif #text > MAX_NUMBER then
    fail(state, i, "a number of more than %d characters", MAX_NUMBER)
  end
  if find(text, "^%-?0%d") then
    fail(state, i, "a number has no leading zeros")
  end
  if sub(text, stop, stop) == "." then
    stop = match(text, "^%.%d+()", stop) or fail(state, i + stop - 1, "a decimal point needs a digit behind it")
  end
  if find(text, "^[eE]", stop) then
    stop = match(text, "^[eE][+-]?%d+()", stop) or fail(state, i + stop - 1, "an exponent needs a digit")
  end
  if find(text, "^[%w_.]", stop) then
    fail(state, i, "not a number: %s", sub(text, 1, 40))
  end
  local value = tonumber(sub(text, 1, stop - 1))
  if value - value ~= 0 then
    fail(state, i, "the number is too large")
  end
  return value, i + stop - 1
end

local decode_value

local function mark(state, pointer, at, key_at)
  local positions = state.positions
  if positions then
    positions[pointer] = { at = at, key_at = key_at }
  end
end

local function decode_array(state, i, pointer, depth)
  local text, array, n = state.text, setmetatable({}, array_mt), 0
  local at = skip_space(state, i + 1)
  if byte(text, at) == 93 then
    return array, at + 1
  end
  while true do
    local value
    value, at = decode_value(state, at, pointer .. "/" .. n, depth + 1)
    n = n + 1
    array[n] = value
    at = skip_space(state, at)
    local c = byte(text, at)
    if c == 93 then
      return array, at + 1
    elseif c ~= 44 then
      fail(state, at, "expected ',' or ']', found %s", found(text, at))
    end
    local comma = at
    at = skip_space(state, at + 1)
    if byte(text, at) == 93 then
      fail(state, comma, "a comma before the closing ']'")
    end
  end
end

local function decode_key(state, at)
  local text = state.text
  if byte(text, at) ~= 34 then
    fail(state, at, 'expected a key in double quotes, found %s', found(text, at))
  end
  local key, after = decode_string(state, at)
  after = skip_space(state, after)
  if byte(text, after) ~= 58 then
    fail(state, after, "expected ':' behind the key \"%s\", found %s", key, found(text, after))
  end
  return key, skip_space(state, after + 1)
end

local function decode_object(state, i, pointer, depth)
  local text, object, keys = state.text, {}, {}
  setmetatable(object, { __jsontype = "object", keys = keys })
  local at = skip_space(state, i + 1)
  if byte(text, at) == 125 then
    return object, at + 1
  end
  while true do
    local key_at = at
    local key, value
    key, at = decode_key(state, at)
    if object[key] ~= nil then
      fail(state, key_at, 'duplicate key "%s"', key)
    end
    keys[#keys + 1] = key
    value, at = decode_value(state, at, pointer .. "/" .. M.escape_pointer(key), depth + 1, key_at)
    object[key] = value
    at = skip_space(state, at)
    local c = byte(text, at)
    if c == 125 then
      return object, at + 1
    elseif c ~= 44 then
      fail(state, at, "expected ',' or '}', found %s", found(text, at))
    end
    local comma = at
    at = skip_space(state, at + 1)
    if byte(text, at) == 125 then
      fail(state, comma, "a comma before the closing '}'")
    end
  end
end

local words = { t = { "true", true }, f = { "false", false }, n = { "null", M.null } }

function decode_value(state, i, pointer, depth, key_at)
  local text = state.text
  local c = sub(text, i, i)
  mark(state, pointer, i, key_at)
  if c == "{" or c == "[" then
    if depth > M.max_depth then
      fail(state, i, "nested more than %d deep", M.max_depth)
    end
    if c == "{" then
      return decode_object(state, i, pointer, depth)
    end
    return decode_array(state, i, pointer, depth)
  elseif c == '"' then
    return decode_string(state, i)
  end
  local word = words[c]
  if word and match(sub(text, i, i + 5), "^[%w_]+") == word[1] then
    return word[2], i + #word[1]
  end
  if word or not find(c, "^[-%d]") then
    fail(state, i, "expected a value, found %s", found(text, i))
  end
  return decode_number(state, i)
end

-- Offsets become lines and columns in one pass.
local function resolve(positions, text)
  local list = {}
  for _, p in pairs(positions) do
    list[#list + 1] = p
  end
  sort(list, function(a, b) return (a.key_at or a.at) < (b.key_at or b.at) end)
  local line, last, seen = 1, 0, 1
  local function advance(at)
    for i = seen, at - 1 do
      if byte(text, i) == 10 then
        line, last = line + 1, i
      end
    end
    seen = at > seen and at or seen
    return line, at - last
  end
  for i = 1, #list do
    local p = list[i]
    if p.key_at then
      p.key_line, p.key_column = advance(p.key_at)
    end
    p.line, p.column = advance(p.at)
    p.at, p.key_at = nil, nil
  end
end

local problem_mt = { __tostring = function(p) return format("line %d, column %d: %s", p.line, p.column, p.message) end }

local function problem(line, column, message)
  return setmetatable({ line = line, column = column, message = message }, problem_mt)
end

--- Decodes exactly one JSON value.
-- @param text string UTF-8; a byte order mark is skipped
-- @param opts table|nil { allow_nul = true: \u0000 in strings is no error }
-- @return any value, nil on failure (JSON's null is json.null)
-- @return table|nil problem { message, line, column }; tostring gives "line L, column C: message"
-- @return table|nil positions: JSON pointer -> { line, column, key_line, key_column }, in bytes, from 1
function M.decode(text, opts)
  if type(text) ~= "string" then
    error("json.decode: expected a string, got " .. type(text), 2)
  end
  if #text > M.max_bytes then
    return nil, problem(1, 1, format("the text has %d bytes, at most %d are allowed", #text, M.max_bytes))
  end
  local state = { text = text, positions = {}, allow_nul = opts and opts.allow_nul }
  local ok, value = pcall(function()
    local at = skip_space(state, sub(text, 1, 3) == "\239\187\191" and 4 or 1)
    local result
    result, at = decode_value(state, at, "", 1)
    at = skip_space(state, at)
    if at <= #text then
      fail(state, at, "expected the end of the text, found %s", found(text, at))
    end
    return result
  end)
  if ok then
    resolve(state.positions, text)
    return value, nil, state.positions
  end
  if type(value) ~= "table" or value.state ~= state then
    error(value, 0)
  end
  local line, column = place(text, value.at)
  return nil, problem(line, column, value.message)
end

local function escape(c)
  return c == '"' and '\\"' or c == "\\" and "\\\\" or format("\\u%04x", byte(c))
end

local function quote(s)
  local parts = { '"' }
  for i = 1, #s, 16384 do
    parts[#parts + 1] = gsub(sub(s, i, i + 16383), '[%z\1-\31"\\\127]', escape)
  end
  parts[#parts + 1] = '"'
  return concat(parts)
end

local function encode(value, depth)
  local t = M.type(value)
  if depth > M.max_depth then
    return "…"
  elseif t == "string" then
    return quote(value)
  elseif t == "number" then
    if value % 1 == 0 and value > -2 ^ 53 and value < 2 ^ 53 then
      return format("%.0f", value) -- whole however it was written: 1000.0, 1e3
    end
    local short = format("%.14g", value)
    return tonumber(short) == value and short or format("%.17g", value)
  elseif t == "array" then
    local parts = {}
    for i = 1, #value do
      parts[i] = encode(value[i], depth + 1)
    end
    return "[" .. concat(parts, ",") .. "]"
  elseif t == "object" then
    local parts = {}
    for i, key in ipairs(M.keys(value)) do
      parts[i] = quote(tostring(key)) .. ":" .. encode(value[key], depth + 1)
    end
    return "{" .. concat(parts, ",") .. "}"
  end
  return t == "boolean" and tostring(value) or "null"
end

--- Compact text of a decoded value.
-- @param value any
-- @return string
function M.encode(value)
  return encode(value, 1)
end

return M
