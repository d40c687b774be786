-- The `values` of the behaviour libraries: { name = generator | function(dev) | constant }, or a function(dev) that makes such a
-- table for each device. A generator in them is a pattern: every device draws from a copy that is its own.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local NAMES_MAX = 256

-- nil | what is wrong
local function problem_of(t)
  local n = 0
  for name, v in pairs(t) do
    n = n + 1
    if type(name) ~= "string" or name == "" then return "values: a name is a text, got " .. tostring(name) end
    local kind = type(v)
    if (kind == "userdata" and not native.gen_copy(v)) or kind == "thread" then
      return "values: " .. name .. ": expected a generator such as gen.walk{…}, a function or a constant, got a " .. kind
    end
    if kind == "table" then
      local text, why = native.json(v)
      if not text then return "values: " .. name .. ": " .. why end
    end
  end
  if n == 0 then return "values: at least one is needed" end
  if n > NAMES_MAX then return "values: at most " .. NAMES_MAX end
end

--- Converter of an option.
function M.check(v)
  if type(v) == "function" then return v end
  if type(v) ~= "table" then return nil, "a table { name = generator } or a function(dev) that returns one" end
  local problem = problem_of(v)
  if problem then return nil, nil, problem end
  local copy = {}
  for name, value in pairs(v) do copy[name] = value end
  return copy
end

local Source = {}
Source.__index = Source

--- The values of one device; ... goes to the functions behind the device.
function M.start(t, dev, child)
  if type(t) == "function" then
    t = t(dev, child)
    local problem = type(t) ~= "table" and "values: expected the function to return a table, got a " .. type(t) or problem_of(t)
    if problem then error(problem, 0) end
  end
  local source = setmetatable({ dev = dev, child = child, names = {}, draws = {}, generator = {}, constants = {} }, Source)
  for _, name in ipairs(options.sorted_keys(t)) do
    local generator = native.gen_copy(t[name])
    if generator or type(t[name]) == "function" then
      local i = #source.names + 1
      source.names[i], source.draws[i], source.generator[i] = name, generator or t[name], generator ~= nil
    else
      source.constants[name] = t[name]
    end
  end
  return source
end

--- Puts the next values into the table, in the order of their names.
function Source:draw(sample)
  for name, v in pairs(self.constants) do sample[name] = v end
  local names, draws, generator = self.names, self.draws, self.generator
  for i = 1, #names do
    if generator[i] then
      sample[names[i]] = draws[i]()
    else
      sample[names[i]] = draws[i](self.dev, self.child)
    end
  end
end

local function same(a, b, width)
  if type(a) == "number" and type(b) == "number" then
    return a == b or (a ~= a and b ~= b) or (width ~= nil and math.abs(a - b) <= width)
  end
  if type(b) == "table" then return a == (native.json(b) or "") end
  return a == b
end

--- Whether a sample differs from what copy() kept of another one; band: number or { name = number }, what numbers may differ by.
function M.differ(kept, sample, band)
  for name, v in pairs(sample) do
    local width = band
    if type(band) == "table" then width = band[name] end
    if not same(kept[name], v, width) then return true end
  end
  for name in pairs(kept) do
    if sample[name] == nil then return true end
  end
  return false
end

--- A copy to compare with: tables as text.
function M.copy(sample)
  local copy = {}
  for name, v in pairs(sample) do
    if type(v) == "table" then v = native.json(v) or "" end
    copy[name] = v
  end
  return copy
end

return M
