--- Regular expressions as JSON Schema means them: ECMA-262, in its Unicode sense (a character is a code point).
--
-- A pattern becomes a small program for a backtracking machine with a stack of its own, so that neither a deep
-- pattern nor a long subject can exhaust Lua's stack, and every step is counted: a hostile pattern ends with an
-- error, never with a hang. Taken: alternation, groups (capturing, named, non-capturing), greedy and lazy
-- quantifiers, classes, \d \w \s and their complements, \b \B, ^ $, \xHH \uHHHH \u{H} \cX, back-references,
-- look-ahead and look-behind. As browsers do (annex B), a `]`, a `}` or a `{` that cannot be a quantifier is literal.
-- Not taken: \p{...}, which needs the Unicode tables (a clear error). No globals, no state, no I/O.

local parser = require "iotix._core.regex_parse"

local codepoints = parser.codepoints
local format, floor = string.format, math.floor

local M = {}

M.max_steps = 1000000   -- of one match
M.max_program = 20000   -- instructions of one pattern
M.max_pattern = 65536   -- bytes
local INF = math.huge

--- Number of code points of a string (what minLength counts).
-- @param s string
-- @return integer
function M.length(s)
  local _, n = codepoints(s)
  return n
end

local function set_has(set, cp)
  local seen = set.seen[cp]
  if seen ~= nil then
    return seen
  end
  local ranges, low, high = set.ranges, 1, #set.ranges
  local inside = false
  while low <= high do
    local middle = floor((low + high) / 2)
    local r = ranges[middle]
    if cp < r[1] then
      high = middle - 1
    elseif cp > r[2] then
      low = middle + 1
    else
      inside = true
      break
    end
  end
  inside = inside ~= set.negated
  if cp < 256 then
    set.seen[cp] = inside
  end
  return inside
end

local function is_word(cp)
  return cp ~= nil and (cp >= 48 and cp <= 57 or cp >= 65 and cp <= 90 or cp == 95 or cp >= 97 and cp <= 122)
end


-- Compiler: tree to program -----------------------------------------------------------------------------------------

local emit_node

local function emit(prog, instruction)
  if #prog >= M.max_program then
    error({ parser = prog.parser, message = "the pattern is too large" }, 0)
  end
  prog[#prog + 1] = instruction
  return instruction, #prog
end

local function can_be_empty(node)
  local t = node.t
  if t == "char" or t == "set" then
    return false
  elseif t == "seq" then
    for i = 1, #node do
      if not can_be_empty(node[i]) then
        return false
      end
    end
    return true
  elseif t == "alt" then
    for i = 1, #node do
      if can_be_empty(node[i]) then
        return true
      end
    end
    return false
  elseif t == "group" then
    return can_be_empty(node[1])
  elseif t == "rep" then
    return node.min == 0 or can_be_empty(node[1])
  end
  return true
end

local function emit_split(prog, lazy)
  local split = emit(prog, { op = "split" })
  local here = #prog + 1
  if lazy then
    split.b = here
  else
    split.a = here
  end
  return split, lazy and "a" or "b" -- which way is still open
end

local function emit_body(prog, node, back)
  if node.last >= node.first then
    emit(prog, { op = "reset", a = 2 * node.first - 1, b = 2 * node.last })
  end
  emit_node(prog, node[1], back)
end

local function emit_rep(prog, node, back)
  local atom = node[1]
  if atom.t == "char" or atom.t == "set" then -- one instruction, however often
    emit(prog, { op = node.lazy and "runlazy" or "run", cp = atom.cp, set = atom.set, min = node.min, max = node.max,
      back = back })
    return
  end
  for _ = 1, node.min do
    emit_body(prog, node, back)
  end
  if node.max == INF then
    local split, open = emit_split(prog, node.lazy)
    local loop = #prog
    if can_be_empty(atom) then -- a turn that took nothing ends the loop
      prog.registers = prog.registers + 1
      local register = prog.registers
      emit(prog, { op = "mark", a = register })
      emit_body(prog, node, back)
      emit(prog, { op = "moved", a = register })
    else
      emit_body(prog, node, back)
    end
    emit(prog, { op = "jump", a = loop })
    split[open] = #prog + 1
    return
  end
  local splits = {}
  for _ = 1, node.max - node.min do
    local split, open = emit_split(prog, node.lazy)
    splits[#splits + 1] = { split, open }
    emit_body(prog, node, back)
  end
  for _, s in ipairs(splits) do
    s[1][s[2]] = #prog + 1
  end
end

local function emit_alt(prog, node, back)
  local jumps = {}
  for i = 1, #node do
    local split, open
    if i < #node then
      split, open = emit_split(prog, false)
    end
    emit_node(prog, node[i], back)
    if split then
      jumps[#jumps + 1] = emit(prog, { op = "jump" })
      split[open] = #prog + 1
    end
  end
  for _, jump in ipairs(jumps) do
    jump.a = #prog + 1
  end
end

function emit_node(prog, node, back)
  local t = node.t
  if t == "seq" then
    for i = 1, #node do
      emit_node(prog, node[back and #node - i + 1 or i], back)
    end
  elseif t == "alt" then
    emit_alt(prog, node, back)
  elseif t == "rep" then
    emit_rep(prog, node, back)
  elseif t == "group" then
    local from, to = 2 * node.index - 1, 2 * node.index
    emit(prog, { op = "save", a = back and to or from })
    emit_node(prog, node[1], back)
    emit(prog, { op = "save", a = back and from or to })
  elseif t == "look" then
    local look = emit(prog, { op = "look", negated = node.negated, a = #prog + 2 })
    emit_node(prog, node[1], node.behind or false)
    emit(prog, { op = "match" })
    look.b = #prog + 1
  else -- char, set, bol, eol, boundary, backref
    emit(prog, { op = t, cp = node.cp, set = node.set, index = node.index, negated = node.negated, back = back })
  end
end

-- The pattern can match at the first position only.
local function is_anchored(node)
  while node.t == "seq" or node.t == "group" do
    node = node[1]
    if not node then
      return false
    end
  end
  return node.t == "bol"
end

-- Machine -----------------------------------------------------------------------------------------------------------

local CHOICE, REGISTER, SHRINK, GROW = 1, 2, 3, 4

local function one(ins, cp)
  if cp == nil then
    return false
  elseif ins.set then
    return set_has(ins.set, cp)
  end
  return ins.cp == cp
end

local function backref(m, ins, pos)
  local from, to = m.regs[2 * ins.index - 1], m.regs[2 * ins.index]
  if not from or not to then
    return pos -- a group that took no part matches nothing
  end
  local n, cps = to - from, m.cps
  local start = ins.back and pos - n or pos
  m.steps = m.steps + n
  for k = 0, n - 1 do
    if cps[start + k] == nil or cps[start + k] ~= cps[from + k] then
      return nil
    end
  end
  return ins.back and start or pos + n
end

-- Simple instructions: the position behind, or nil when they fail.
local function simple(m, ins, pos)
  local op, cps = ins.op, m.cps
  if op == "char" or op == "set" then
    if ins.back then
      return one(ins, cps[pos - 1]) and pos - 1 or nil
    end
    return one(ins, cps[pos]) and pos + 1 or nil
  elseif op == "bol" then
    return pos == 1 and pos or nil
  elseif op == "eol" then
    return pos == m.n + 1 and pos or nil
  elseif op == "boundary" then
    return (is_word(cps[pos - 1]) ~= is_word(cps[pos])) ~= ins.negated and pos or nil
  elseif op == "backref" then
    return backref(m, ins, pos)
  end
  return m.regs[ins.a] ~= pos and pos or nil -- moved
end

local run

-- Runs the body of a look-around. Returns whether it holds; captures of a positive one stay, with their old values on
-- the stack.
local function look(m, ins, pos, stack, top)
  local before = {}
  for i = 1, m.registers do
    before[i] = m.regs[i]
  end
  local held, err = run(m, ins.a, pos)
  if err then
    return nil, err
  end
  if not held or ins.negated then
    for i = 1, m.registers do
      m.regs[i] = before[i]
    end
    return held ~= ins.negated, nil, top
  end
  for i = 1, m.registers do
    if m.regs[i] ~= before[i] then
      stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = REGISTER, i, before[i], false
      top = top + 4
    end
  end
  return true, nil, top
end

-- How many characters from pos a run may take, and the position behind the least it must; nil when there are too few.
local function take(m, ins, pos)
  local cps, n, max, step = m.cps, 0, ins.max, ins.back and -1 or 1
  local at = ins.back and pos - 1 or pos
  if ins.op == "runlazy" then
    max = ins.min
  end
  while n < max and one(ins, cps[at]) do
    n, at = n + 1, at + step
  end
  m.steps = m.steps + n
  if n < ins.min then
    return nil
  end
  return pos + step * n, pos + step * ins.min
end

-- Takes the newest choice. Returns pc, pos and the new top; nil when there is none left.
local function backtrack(m, stack, top)
  while top > 0 do
    local kind, a, b, c = stack[top - 3], stack[top - 2], stack[top - 1], stack[top]
    if kind == REGISTER then
      m.regs[a] = b
      top = top - 4
    elseif kind == CHOICE then
      return a, b, top - 4
    elseif kind == SHRINK then -- a: pc behind the run, b: position, c: the least
      local step = b > c and -1 or 1
      b = b + step
      if b == c then
        return a, b, top - 4
      end
      stack[top - 1] = b
      return a, b, top
    else -- GROW: a: pc of the run, b: position, c: how many may still come
      local ins = m.prog[a]
      local at = ins.back and b - 1 or b
      if c > 0 and one(ins, m.cps[at]) then
        b = ins.back and b - 1 or b + 1
        stack[top - 1], stack[top] = b, c - 1
        return a + 1, b, top
      end
      top = top - 4
    end
  end
  return nil
end

function run(m, pc, pos)
  local prog, regs = m.prog, m.regs
  local stack, top = {}, 0
  while true do
    m.steps = m.steps + 1
    if m.steps > m.max_steps then
      return nil, "the pattern takes more than " .. m.max_steps .. " steps on this text"
    end
    local ins, failed = prog[pc], false
    local op = ins.op
    if op == "match" then
      return true
    elseif op == "split" then
      stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = CHOICE, ins.b, pos, false
      top, pc = top + 4, ins.a
    elseif op == "jump" then
      pc = ins.a
    elseif op == "save" or op == "mark" then
      stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = REGISTER, ins.a, regs[ins.a], false
      top, pc = top + 4, pc + 1
      regs[ins.a] = pos
    elseif op == "reset" then
      for i = ins.a, ins.b do
        if regs[i] then
          stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = REGISTER, i, regs[i], false
          top = top + 4
          regs[i] = false
        end
      end
      pc = pc + 1
    elseif op == "run" or op == "runlazy" then
      local far, least = take(m, ins, pos)
      if not far then
        failed = true
      elseif op == "run" then
        if far ~= least then
          stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = SHRINK, pc + 1, far, least
          top = top + 4
        end
        pos, pc = far, pc + 1
      else
        stack[top + 1], stack[top + 2], stack[top + 3], stack[top + 4] = GROW, pc, least, ins.max - ins.min
        top, pos, pc = top + 4, least, pc + 1
      end
    elseif op == "look" then
      local held, err, new_top = look(m, ins, pos, stack, top)
      if err then
        return nil, err
      end
      top, pc, failed = new_top, ins.b, not held
    else
      local next_pos = simple(m, ins, pos)
      if next_pos then
        pos, pc = next_pos, pc + 1
      else
        failed = true
      end
    end
    if failed then
      pc, pos, top = backtrack(m, stack, top)
      if not pc then
        return false
      end
    end
  end
end

local Regex = {}
Regex.__index = Regex

--- Looks for a match anywhere in the text.
-- @param text string
-- @return boolean|nil found; nil when the step budget ran out
-- @return string|nil message
function Regex:find(text)
  local cps, n = codepoints(text)
  local m = { prog = self.program, cps = cps, n = n, steps = 0, max_steps = M.max_steps, regs = {},
    registers = self.program.registers }
  for start = 1, self.anchored and 1 or n + 1 do
    for i = 1, m.registers do
      m.regs[i] = false
    end
    local held, err = run(m, 1, start)
    if err then
      return nil, err
    elseif held then
      return true
    end
  end
  return false
end

local function build(p)
  local tree = parser.parse(p)
  local prog = { registers = 2 * p.groups, parser = p }
  emit_node(prog, tree, false)
  emit(prog, { op = "match" })
  prog.parser = nil
  return setmetatable({ program = prog, anchored = is_anchored(tree) }, Regex)
end

--- Compiles a pattern.
-- @param pattern string ECMA-262, without slashes and flags
-- @return table|nil regex with :find(text)
-- @return string|nil message
function M.compile(pattern)
  if #pattern > M.max_pattern then
    return nil, format("the pattern has %d bytes, at most %d are allowed", #pattern, M.max_pattern)
  end
  local p = parser.new(pattern)
  local ok, result = pcall(build, p)
  if ok then
    return result
  elseif type(result) == "table" and result.parser == p then
    return nil, result.message
  end
  error(result, 0)
end

return M
