-- The options that say when devices of a group come and go: launch, dropout.
local options = require "iotix._core.options"

local M = {}

-- Which keys a strategy has besides those of all.
local function check_strategy(what, t, valid, common)
  for _, key in ipairs(options.sorted_keys(t)) do
    if not common[key] and not valid[t.strategy][key] then
      local names = options.sorted_keys(common)
      for _, name in ipairs(options.sorted_keys(valid[t.strategy])) do names[#names + 1] = name end
      return what .. ": strategy \"" .. t.strategy .. "\" has no " .. key .. "; it has: " .. table.concat(names, ", ")
    end
  end
end

local function target(v)
  if type(v) == "number" and v >= 0 and v <= 10000000 and v == math.floor(v) then return v end
  return nil, "a whole number of devices"
end

local stage_table = options.nested({ duration = { "duration", required = true }, target = { target, required = true } }, "stages")

local function stages(v)
  if type(v) ~= "table" or #v == 0 then
    return nil, "a list such as { { duration = \"1m\", target = 100 }, { duration = \"30s\", target = 0 } }"
  end
  if #v > 32 then return nil, "at most 32 stages" end
  local list, peak = {}, 0
  for i = 1, #v do
    local stage, expected, problem = stage_table(v[i])
    if not stage then return nil, nil, "launch: stage " .. i .. ": " .. (problem or "expected " .. expected) end
    list[i] = stage
    peak = math.max(peak, stage.target)
  end
  if peak == 0 then return nil, nil, "launch: no stage has a target above 0" end
  return list
end

local launch_table = options.nested({
  strategy = { options.choice("immediate", "linear", "batch", "exponential", "ramp", "stages", "poisson"), default = "immediate" },
  rate = { "positive" },
  delay = { "duration" },
  batch_size = { "count" },
  max_delay = { "duration" },
  base = { "positive" },
  over = { "duration" },
  stages = { stages },
}, "launch")

local launch_keys = {
  immediate = {},
  linear = { rate = true, delay = true },
  batch = { batch_size = true, delay = true },
  exponential = { delay = true, max_delay = true, base = true },
  ramp = { over = true },
  stages = { stages = true },
  poisson = { rate = true },
}

local needed = {
  ramp = { "over", "the time until the last device starts" },
  stages = { "stages", "a list of { duration =, target = }" },
  poisson = { "rate", "devices a second on average" },
}

--- Converter of the key `launch` of a group.
function M.check(t)
  if type(t) ~= "table" then return nil, "a table such as { strategy = \"linear\", rate = 100 }" end
  local launch, _, problem = launch_table(t)
  if not launch then return nil, nil, problem end
  problem = check_strategy("launch", launch, launch_keys, { strategy = true })
  if problem then return nil, nil, problem end
  if launch.strategy == "linear" and (launch.rate ~= nil) == (launch.delay ~= nil) then
    return nil, nil, "launch: strategy \"linear\" needs either rate (devices a second) or delay"
  end
  local need = needed[launch.strategy]
  if need and launch[need[1]] == nil then
    return nil, nil, "launch: strategy \"" .. launch.strategy .. "\" needs " .. need[1] .. ": " .. need[2]
  end
  return launch
end

--- The largest target of stages, nil for other strategies: how many devices a group without `count` has.
function M.peak(launch)
  local peak
  for _, stage in ipairs(launch.stages or {}) do peak = math.max(peak or 0, stage.target) end
  return peak
end

local function percentage(v)
  if type(v) == "number" and v > 0 and v <= 100 then return v end
  return nil, "a number above 0 and at most 100"
end

M.percentage = percentage

local dropout_spec = {
  strategy = { options.choice("immediate", "linear", "exponential", "random"), default = "immediate" },
  count = { "count" },
  percentage = { percentage },
  at = { "duration" },
  delay = { "duration" },
  max_delay = { "duration" },
  duration = { "duration" },
  base = { "positive" },
  reconnect = { "boolean", default = false },
  reconnect_delay = { "duration" },
  jitter = { "duration" },
  mode = { options.choice("abrupt", "graceful"), default = "abrupt" },
}

local dropout_table = options.nested(dropout_spec, "dropout")

local dropout_common = { strategy = true, count = true, percentage = true, at = true, reconnect = true, reconnect_delay = true,
  jitter = true, mode = true }
local dropout_keys = {
  immediate = {},
  linear = { delay = true, duration = true },
  exponential = { delay = true, max_delay = true, base = true },
  random = { duration = true },
}

--- One dropout: its table | nil, what was expected | nil, nil, the problem.
function M.dropout(t, declared)
  if type(t) ~= "table" then return nil, "a table such as { strategy = \"linear\", percentage = 10, delay = \"1s\" }" end
  local d, _, problem = dropout_table(t)
  if not d then return nil, nil, problem end
  problem = check_strategy("dropout", d, dropout_keys, dropout_common)
  if problem then return nil, nil, problem end
  if (d.count ~= nil) == (d.percentage ~= nil) then return nil, nil, "dropout: give either count (devices) or percentage (of the group)" end
  if d.strategy == "linear" and d.delay and d.duration then
    return nil, nil, "dropout: give either delay (between two devices) or duration (for all of them)"
  end
  if not d.reconnect and (d.reconnect_delay or d.jitter) then
    return nil, nil, "dropout: reconnect_delay and jitter are for reconnect = true"
  end
  if declared and not d.at then return nil, nil, "dropout: at: say when it begins, such as at = \"30s\"" end
  if not declared and d.at then return nil, nil, "dropout: it begins now; use run:at before it" end
  return d
end

--- Converter of the key `dropout` of a group: one, or a list.
function M.dropouts(t)
  if type(t) ~= "table" or (#t == 0 and next(t) == nil) then
    return nil, "a table such as { at = \"30s\", percentage = 10 }, or a list of them"
  end
  local list = {}
  for i, one in ipairs(#t > 0 and t or { t }) do
    local d, expected, problem = M.dropout(one, true)
    if not d then return nil, expected, problem end
    list[i] = d
  end
  if #list > 100 then return nil, "at most 100 dropouts" end
  return list
end

return M
