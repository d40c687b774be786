--- Parser of ECMA-262 patterns: code points to a tree. What is taken is said in regex.lua, which runs the tree.
--
-- Nodes are { t = kind, ... }: seq and alt (children by position), char (cp), set (set), rep (child, min, max, lazy,
-- first and last group inside), group (child, index), look (child, negated, behind), backref (index), bol, eol,
-- boundary (negated).

local byte, char, format = string.byte, string.char, string.format
local concat, sort = table.concat, table.sort

local M = { max_depth = 200 } -- nested groups
local MAX_CP = 0x10ffff
local INF = math.huge

-- Code points of a string. A byte that is no UTF-8 stands for itself, above the code points, so that it equals only
-- itself.
local function codepoints(s)
  local out, n, i, len = {}, 0, 1, #s
  while i <= len do
    local a = byte(s, i)
    local cp, size = a, 1
    if a >= 0x80 then
      local b, c, d = byte(s, i + 1, i + 3)
      local tb, tc, td = b and b - 0x80, c and c - 0x80, d and d - 0x80
      local ok_b, ok_c, ok_d = tb and tb >= 0 and tb < 64, tc and tc >= 0 and tc < 64, td and td >= 0 and td < 64
      if a >= 0xc2 and a <= 0xdf and ok_b then
        cp, size = (a - 0xc0) * 64 + tb, 2
      elseif a >= 0xe0 and a <= 0xef and ok_b and ok_c then
        cp, size = (a - 0xe0) * 4096 + tb * 64 + tc, 3
      elseif a >= 0xf0 and a <= 0xf4 and ok_b and ok_c and ok_d then
        cp, size = (a - 0xf0) * 262144 + tb * 4096 + tc * 64 + td, 4
      else
        cp = MAX_CP + 1 + a
      end
    end
    n = n + 1
    out[n] = cp
    i = i + size
  end
  return out, n
end

-- Sets --------------------------------------------------------------------------------------------------------------

local function new_set(ranges, negated)
  sort(ranges, function(a, b) return a[1] < b[1] end)
  local merged = {}
  for _, r in ipairs(ranges) do
    local last = merged[#merged]
    if last and r[1] <= last[2] + 1 then
      last[2] = last[2] > r[2] and last[2] or r[2]
    else
      merged[#merged + 1] = { r[1], r[2] }
    end
  end
  return { ranges = merged, negated = negated or false, seen = {} }
end

local function invert(ranges)
  local out, from = {}, 0
  for _, r in ipairs(new_set(ranges).ranges) do
    if r[1] > from then
      out[#out + 1] = { from, r[1] - 1 }
    end
    from = r[2] + 1
  end
  out[#out + 1] = { from, MAX_CP }
  return out
end

local digit = { { 48, 57 } }
local word = { { 48, 57 }, { 65, 90 }, { 95, 95 }, { 97, 122 } }
local space = { { 9, 13 }, { 32, 32 }, { 0xa0, 0xa0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200a }, { 0x2028, 0x2029 },
  { 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 }, { 0xfeff, 0xfeff } }
local line_ends = { { 10, 10 }, { 13, 13 }, { 0x2028, 0x2029 } }
local classes = { d = digit, D = invert(digit), w = word, W = invert(word), s = space, S = invert(space) }

-- Parser: code points to a tree -------------------------------------------------------------------------------------

local function fail(p, text, ...)
  error({ parser = p, message = format(text, ...) .. " at position " .. p.i }, 0)
end

-- The character at the parser (offset on), as a string; "" at the end, "\255" for what is not ASCII.
local function peek(p, offset)
  local cp = p.cps[p.i + (offset or 0)]
  return cp == nil and "" or cp < 128 and char(cp) or "\255"
end

local function accept(p, c)
  if peek(p) == c then
    p.i = p.i + 1
    return true
  end
  return false
end

-- Hexadecimal number of exactly n digits at offset; nil when there is none.
local function hex(p, offset, n)
  local digits = {}
  for k = 0, n - 1 do
    digits[#digits + 1] = peek(p, offset + k)
  end
  local text = concat(digits)
  return #text == n and text:find("^%x+$") and tonumber(text, 16) or nil
end

local function unicode_escape(p) -- p.i behind the u
  if peek(p) == "{" then
    local n = 1
    while peek(p, n):find("^%x") do
      n = n + 1
    end
    local cp = peek(p, n) == "}" and n > 1 and n < 10 and hex(p, 1, n - 1)
    if not cp or cp > MAX_CP then
      fail(p, "\\u{...} needs a code point in hexadecimal")
    end
    p.i = p.i + n + 1
    return cp
  end
  local cp = hex(p, 0, 4) or fail(p, "\\u needs four hexadecimal digits")
  p.i = p.i + 4
  if cp >= 0xd800 and cp <= 0xdbff and peek(p) == "\\" and peek(p, 1) == "u" then
    local low = hex(p, 2, 4)
    if low and low >= 0xdc00 and low <= 0xdfff then
      p.i = p.i + 6
      return 0x10000 + (cp - 0xd800) * 0x400 + low - 0xdc00
    end
  end
  return cp
end

local control = { t = 9, n = 10, v = 11, f = 12, r = 13 }

-- One escaped character (p.i behind the backslash): a code point.
local function char_escape(p)
  local c = peek(p)
  if c == "" then
    fail(p, "a backslash at the end")
  end
  local cp = p.cps[p.i]
  p.i = p.i + 1
  if control[c] then
    return control[c]
  elseif c == "u" then
    return unicode_escape(p)
  elseif c == "x" then
    local value = hex(p, 0, 2) or fail(p, "\\x needs two hexadecimal digits")
    p.i = p.i + 2
    return value
  elseif c == "c" then
    local letter = peek(p)
    if not letter:find("^%a") then
      fail(p, "\\c needs a letter")
    end
    p.i = p.i + 1
    return byte(letter) % 32
  elseif c == "0" and not peek(p):find("^%d") then
    return 0
  elseif c == "p" or c == "P" then
    fail(p, "\\%s{...} is not supported; write the characters as a class, for example [a-zA-Z\\u00c0-\\u024f]", c)
  elseif c:find("^%w") then
    p.i = p.i - 1
    fail(p, "unknown escape \\%s", c)
  end
  return cp
end

local function class_atom(p) -- a code point, or nil and ranges
  if not accept(p, "\\") then
    local cp = p.cps[p.i]
    p.i = p.i + 1
    return cp
  end
  local c = peek(p)
  if classes[c] then
    p.i = p.i + 1
    return nil, classes[c]
  elseif c == "b" then
    p.i = p.i + 1
    return 8
  end
  return char_escape(p)
end

local function parse_class(p) -- behind the [
  local negated, ranges = accept(p, "^"), {}
  while not accept(p, "]") do
    if peek(p) == "" then
      fail(p, "a class [ has no closing ]")
    end
    local low, many = class_atom(p)
    local high = low
    if peek(p) == "-" and peek(p, 1) ~= "]" and peek(p, 1) ~= "" then
      p.i = p.i + 1
      local top, top_many = class_atom(p)
      if many or top_many then -- [\w-x]: the hyphen is literal (annex B)
        ranges[#ranges + 1] = { 45, 45 }
        for _, r in ipairs(top_many or { { top, top } }) do
          ranges[#ranges + 1] = r
        end
      elseif top < low then
        fail(p, "the range in a class is out of order")
      else
        high = top
      end
    end
    for _, r in ipairs(many or { { low, high } }) do
      ranges[#ranges + 1] = r
    end
  end
  return { t = "set", set = new_set(ranges, negated) }
end

local parse_alternation

local function group_name(p) -- behind the <
  local name = {}
  while peek(p):find("^[%w_$]") do
    name[#name + 1] = peek(p)
    p.i = p.i + 1
  end
  if #name == 0 or not accept(p, ">") then
    fail(p, "a group name <name> was expected")
  end
  return concat(name)
end

local function parse_group(p) -- behind the (
  local node, negated, behind
  p.depth = p.depth + 1
  if p.depth > M.max_depth then
    fail(p, "groups are nested more than %d deep", M.max_depth)
  end
  if peek(p) == "?" then
    local c, d = peek(p, 1), peek(p, 2)
    if c == ":" then
      p.i = p.i + 2
      node = parse_alternation(p)
    elseif c == "=" or c == "!" then
      p.i = p.i + 2
      negated = c == "!"
      node = { t = "look", negated = negated, parse_alternation(p) }
    elseif c == "<" and (d == "=" or d == "!") then
      p.i = p.i + 3
      negated, behind = d == "!", true
      node = { t = "look", negated = negated, behind = behind, parse_alternation(p) }
    elseif c == "<" then
      p.i = p.i + 2
      local name = group_name(p)
      if p.names[name] then
        fail(p, "two groups are named %s", name)
      end
      p.groups = p.groups + 1
      p.names[name] = p.groups
      node = { t = "group", index = p.groups }
      node[1] = parse_alternation(p)
    else
      fail(p, "unknown kind of group (?%s", c)
    end
  else
    p.groups = p.groups + 1
    node = { t = "group", index = p.groups }
    node[1] = parse_alternation(p)
  end
  if not accept(p, ")") then
    fail(p, "a group ( has no closing )")
  end
  p.depth = p.depth - 1
  return node
end

local function parse_escape(p) -- behind the backslash
  local c = peek(p)
  if classes[c] then
    p.i = p.i + 1
    return { t = "set", set = new_set(classes[c]) }
  elseif c == "b" or c == "B" then
    p.i = p.i + 1
    return { t = "boundary", negated = c == "B" }
  elseif c == "k" and peek(p, 1) == "<" then
    p.i = p.i + 2
    local node = { t = "backref", name = group_name(p) }
    p.backrefs[#p.backrefs + 1] = node
    return node
  elseif c:find("^[1-9]") then
    local n = 0
    while peek(p):find("^%d") and n < 1e6 do
      n = n * 10 + tonumber(peek(p))
      p.i = p.i + 1
    end
    local node = { t = "backref", index = n }
    p.backrefs[#p.backrefs + 1] = node
    return node
  end
  return { t = "char", cp = char_escape(p) }
end

-- min and max of a {n}, {n,} or {n,m} at the parser; nil when it is none (then the brace is literal).
local function parse_braces(p)
  local digits, i = { "" }, 1
  while true do
    local c = peek(p, i)
    if c == "," and #digits == 1 then
      digits[2] = ""
    elseif c:find("^%d") then
      digits[#digits] = digits[#digits] .. c
    else
      break
    end
    i = i + 1
  end
  if peek(p, i) ~= "}" or digits[1] == "" then
    return nil
  end
  p.i = p.i + i + 1
  local low = tonumber(digits[1])
  local high = digits[2] == nil and low or digits[2] == "" and INF or tonumber(digits[2])
  if low > high then
    fail(p, "the numbers of {%s,%s} are out of order", digits[1], digits[2])
  end
  return low, high
end

local function parse_quantifier(p, node, first_group)
  local low, high
  if accept(p, "*") then
    low, high = 0, INF
  elseif accept(p, "+") then
    low, high = 1, INF
  elseif accept(p, "?") then
    low, high = 0, 1
  elseif peek(p) == "{" then
    low, high = parse_braces(p)
  end
  if not low then
    return node
  end
  if node.t == "bol" or node.t == "eol" or node.t == "boundary" or (node.t == "look" and node.behind) then
    fail(p, "nothing to repeat")
  end
  return { t = "rep", node, min = low, max = high, lazy = accept(p, "?"), first = first_group + 1, last = p.groups }
end

local function parse_atom(p)
  local c = peek(p)
  if c == "*" or c == "+" or c == "?" then
    fail(p, "nothing to repeat")
  end
  local cp = p.cps[p.i]
  if c == "{" then
    if parse_braces(p) then
      fail(p, "nothing to repeat")
    end
  end
  p.i = p.i + 1
  if c == "." then
    return { t = "set", set = new_set(line_ends, true) }
  elseif c == "[" then
    return parse_class(p)
  elseif c == "(" then
    return parse_group(p)
  elseif c == "^" then
    return { t = "bol" }
  elseif c == "$" then
    return { t = "eol" }
  elseif c == "\\" then
    return parse_escape(p)
  end
  return { t = "char", cp = cp }
end

local function parse_sequence(p)
  local seq = { t = "seq" }
  while true do
    local c = peek(p)
    if c == "" or c == "|" or c == ")" then
      return seq
    end
    local groups = p.groups
    seq[#seq + 1] = parse_quantifier(p, parse_atom(p), groups)
  end
end

function parse_alternation(p)
  local alt = { t = "alt", parse_sequence(p) }
  while accept(p, "|") do
    alt[#alt + 1] = parse_sequence(p)
  end
  return #alt == 1 and alt[1] or alt
end

--- A parser for a pattern.
function M.new(pattern)
  return { cps = codepoints(pattern), i = 1, groups = 0, names = {}, backrefs = {}, depth = 0 }
end

--- Parses. Raises { parser = p, message = text } for what is no pattern.
function M.parse(p)
  local tree = parse_alternation(p)
  if peek(p) == ")" then
    fail(p, "a ) without its (")
  end
  for _, ref in ipairs(p.backrefs) do
    if ref.name then
      ref.index = p.names[ref.name] or fail(p, "\\k<%s> names no group", ref.name)
    elseif ref.index > p.groups then
      fail(p, "\\%d names no group, there are %d", ref.index, p.groups)
    end
  end
  return tree
end

M.codepoints = codepoints

return M
