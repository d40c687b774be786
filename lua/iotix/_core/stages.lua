-- stages = { { name =, duration =, devices = }, … }: named times of a run, one behind the other. The engine makes them the launch
-- plan of the groups that have none of their own (runtime/engine/plan_stages.h).
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local STAGES_MAX = 32 -- PLAN_STAGES_MAX
local DEVICES_MAX = 10000000

local function devices(v)
  if type(v) == "string" then v = native.count(v) end
  if type(v) == "number" and v >= 0 and v <= DEVICES_MAX and v == math.floor(v) then return v end
  return nil, "a whole number from 0 to 10,000,000"
end

local spec = { name = { "name" }, duration = { "duration", required = true }, devices = { devices, required = true } }

local function one(out, i, stage, seen)
  local problem
  local ok, s = pcall(options.check, stage, spec, "stages[" .. i .. "]", function(text) problem = text error(text, 0) end)
  if not ok then return problem or error(s, 0) end
  s.name = s.name or "stage-" .. i
  if s.duration <= 0 then return "stages[" .. i .. "]: duration: expected a duration above 0" end
  if seen[s.name] then return "stages[" .. i .. "]: a stage before it is named \"" .. s.name .. "\" too" end
  seen[s.name] = true
  out[i] = s
end

--- Converter of the key `stages`.
function M.check(v)
  if type(v) ~= "table" or #v == 0 then
    return nil, "a list such as { { name = \"ramp\", duration = \"1m\", devices = 500 } }"
  end
  if #v > STAGES_MAX then return nil, nil, "stages: at most " .. STAGES_MAX .. ", there are " .. #v end
  local out, seen, peak = {}, {}, 0
  for key in pairs(v) do
    if type(key) ~= "number" then return nil, nil, "stages: expected a list, got the key " .. tostring(key) end
  end
  for i = 1, #v do
    local problem = one(out, i, v[i], seen)
    if problem then return nil, nil, problem end
    peak = math.max(peak, out[i].devices)
  end
  if peak == 0 then return nil, nil, "stages: no stage has devices" end
  return out
end

--- A checked scenario with stages: some group has to follow them.
function M.check_run(s, level)
  for _, g in ipairs(s.groups) do
    if g.launch.strategy == "immediate" and not g.proxies then return end
  end
  error("iotix.scenario: stages: every group has a launch plan of its own: leave `launch` out where stages are to say how many "
    .. "devices there are", level)
end

return M
