-- Value generators. Each call of a generator draws the next value from the generator of the device that calls it: the same seed
-- gives the same values on any number of shards.
local native = require "iotix._core.native"

local M = {}

local function constructor(type_name)
  return function(t)
    local copy = {}
    if t ~= nil and type(t) ~= "table" then
      error("iotix.gen." .. type_name .. ": expected a table of options, got " .. type(t), 2)
    end
    for k, v in pairs(t or {}) do copy[k] = v end
    if copy.type ~= nil then error("iotix.gen." .. type_name .. ": unknown key \"type\"", 2) end
    local g, message = native.gen(type_name, copy)
    if not g then error("iotix.gen." .. type_name .. ": " .. message, 2) end
    return g
  end
end

for _, name in ipairs { "uniform", "normal", "exponential", "walk", "sequence", "choice" } do
  M[name] = constructor(name)
end

local constant = constructor("constant")

--- constant(value) or constant{ value = … }
function M.constant(v)
  if type(v) ~= "table" then v = { value = v } end
  return constant(v)
end

return M
