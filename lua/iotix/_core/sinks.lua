-- `sinks` of a scenario: what iotix.sink.… has returned, as the plan has it.
local options = require "iotix._core.options"

local M = {}

local EXPECTED = "a list of what iotix.sink.… returns"

--- Converter of the key (options.check).
function M.check(list)
  if type(list) ~= "table" then return nil, EXPECTED end
  local out = {}
  for i = 1, #list do
    local s = options.unseal(list[i], "a sink")
    if not s then return nil, nil, "sinks[" .. i .. "]: expected what iotix.sink.… returns, got a " .. type(list[i]) end
    out[i] = { type = s.type, name = s.name, options = s.options, line = s.line }
  end
  for key in pairs(list) do
    if type(key) ~= "number" or key > #list then return nil, EXPECTED end
  end
  return out
end

return M
