-- From what an author says of an experiment to its JSON (runtime/chaos/experiment.h). The functions return nil and what is wrong,
-- so that every caller can raise at its own author's line; what a fault may be is checked in C.
local launch = require "iotix._core.launch"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local profiles = require "iotix._core.chaos_profile"

local M = {}

local function signed_duration(v)
  local sign = 1
  if type(v) == "string" and v:sub(1, 1) == "-" then
    sign, v = -1, v:sub(2)
  elseif type(v) == "number" and v < 0 then
    sign, v = -1, -v
  end
  local us, expected = options.types.duration(v)
  if not us then return nil, (expected:gsub("^a duration", "a duration, negative for a clock that is behind,")) end
  return sign * us
end

local function fraction(v)
  local text = type(v) == "string" and v:match("^%s*([%d.]+)%s*%%$")
  local share = text and tonumber(text) and tonumber(text) / 100 or v
  if type(share) == "number" and share > 0 and share <= 1 then return share end
  return nil, "a share of the devices above 0 and at most 1, or a text such as \"20%\""
end

local function drift(v)
  local ppm = type(v) == "string" and tonumber(v:match("^(-?[%d.]+)%s*ppm$") or nil)
  if ppm then v = ppm / 1e6 end
  if type(v) == "number" and v > -1 and v <= 1000 then return v end
  return nil, "seconds a second, above -1 and at most 1000, or a text such as \"200ppm\""
end

local INDEX_MAX = 1e7 -- as many devices as a group may have

local function indices(v)
  if type(v) == "number" then v = { v } end
  if type(v) ~= "table" or #v == 0 then return nil, "an index or a list of indices, such as { 1, 2, 3 }" end
  for key, index in pairs(v) do
    if type(key) ~= "number" or not options.types.count(index) or index > INDEX_MAX then
      return nil, nil, "devices: expected indices from 1 to 10,000,000, got " .. tostring(index)
    end
  end
  return v
end

local function names(v)
  if type(v) ~= "table" or #v == 0 then return nil, "a list of names of groups, such as { \"sensors\", \"valves\" }" end
  local list, seen = {}, {}
  for key, name in pairs(v) do
    if type(key) ~= "number" or not options.types.name(name) then return nil, nil, "groups: expected names of groups" end
    if seen[name] then return nil, nil, "groups: \"" .. name .. "\" is there twice" end
    seen[name], list[key] = true, name
  end
  return list
end

local anywhere = { name = { "string" }, from = { "duration" }, to = { "duration" }, every = { "duration" } }
local on_some = { group = { "name" }, groups = { names }, fraction = { fraction }, percentage = { launch.percentage },
  count = { "count" }, devices = { indices } }

local function spec_of(...)
  local spec = {}
  for _, part in ipairs { ... } do
    for key, rule in pairs(part) do spec[key] = rule end
  end
  return spec
end

local dropout_keys = { strategy = { "any" }, delay = { "any" }, max_delay = { "any" }, duration = { "any" }, base = { "any" },
  reconnect = { "any" }, reconnect_delay = { "any" }, jitter = { "any" }, mode = { "any" } }
local partition_keys = { direction = { "any" }, hosts = { "any" }, ports = { "any" }, protocols = { "any" }, allow = { "any" } }

local specs = {
  link = spec_of(anywhere, on_some, profiles.fault_spec),
  partition = spec_of(anywhere, on_some, partition_keys),
  disconnect = spec_of(anywhere, on_some, dropout_keys),
  storm = spec_of(anywhere, on_some, { jitter = { "duration" }, reconnect_delay = { "duration" } }),
  broker = spec_of(anywhere),
  clock = spec_of(anywhere, on_some, { offset = { signed_duration }, drift = { drift } }),
  custom = spec_of(anywhere),
}

-- The keys that specs of a kind add to those of all experiments on devices.
local function of(t, keys)
  local own
  for key in pairs(keys) do
    if t[key] ~= nil then
      own = own or {}
      own[key] = t[key]
    end
  end
  return own
end

local function window(kind, o)
  local from = o.from or 0
  if o.to and o.to <= from then
    return "to: the window ends " .. (o.to < from and "before it begins" or "when it begins") .. "; expected a time after from"
  end
  if not o.every then return nil end
  if not o.to and kind ~= "storm" then return "every: it needs to: when the first window ends" end
  if o.to and o.every < o.to - from then
    return string.format("every: a window lasts %gs, and the next would begin after %gs", (o.to - from) / 1e6, o.every / 1e6)
  end
end

-- Options → the entry that all kinds have.
local function begin(kind, where, o)
  local checked, expected, problem = options.nested(specs[kind], where)(o == nil and {} or o)
  if not checked then return nil, problem or where .. ": expected " .. expected end
  problem = window(kind, checked)
  if not problem and checked.group and checked.groups then problem = "give either group or groups" end
  local sizes = (checked.fraction and 1 or 0) + (checked.percentage and 1 or 0) + (checked.count and 1 or 0)
    + (checked.devices and 1 or 0)
  if not problem and sizes > 1 then problem = "give one of devices, count, percentage and fraction" end
  if problem then return nil, where .. ": " .. problem end
  local entry = { kind = kind, name = checked.name, group = checked.group, groups = checked.groups, count = checked.count,
    devices = checked.devices, percentage = checked.fraction and checked.fraction * 100 or checked.percentage,
    from_us = checked.from, to_us = checked.to, every_us = checked.every }
  return entry, checked
end

local function with_fault(where, entry, fault)
  local ok, problem = native.chaos_fault(fault)
  if not ok then return nil, where .. ": " .. problem end
  entry.fault = fault
  return entry
end

--- chaos.link: a name of a profile, a profile, or a fault; the options may say otherwise of some of it.
function M.link(where, what, o)
  local fault, profile = profiles.resolve(what)
  if not fault then return nil, where .. ": " .. profile end
  local entry, checked = begin("link", where, o)
  if not entry then return nil, checked end
  entry.profile = profile
  return with_fault(where, entry, profiles.override(fault, of(checked, profiles.fault_spec)))
end

--- What an experiment that is on is changed to.
function M.fault(where, what, o)
  local fault, problem = profiles.resolve(what)
  if not fault then return nil, where .. ": " .. problem end
  local checked, expected, wrong = options.nested(profiles.fault_spec, where)(o == nil and {} or o)
  if not checked then return nil, wrong or where .. ": expected " .. expected end
  fault = profiles.override(fault, checked)
  local ok
  ok, problem = native.chaos_fault(fault)
  if not ok then return nil, where .. ": " .. problem end
  return fault
end

function M.partition(where, o)
  local entry, checked = begin("partition", where, o)
  if not entry then return nil, checked end
  return with_fault(where, entry, { partition = of(checked, partition_keys) or true })
end

function M.disconnect(where, o)
  local entry, checked = begin("disconnect", where, o)
  if not entry then return nil, checked end
  local dropout = of(checked, dropout_keys) or {}
  dropout.count, dropout.percentage = entry.count, entry.percentage
  if not dropout.count and not dropout.percentage then dropout.percentage = 100 end
  entry.count, entry.percentage = nil, nil
  local d, expected, problem = launch.dropout(dropout, false)
  if not d then return nil, where .. ": " .. (problem and problem:gsub("^dropout: ", "") or "expected " .. expected) end
  if entry.devices then d.percentage = nil end
  entry.dropout = d
  return entry
end

function M.storm(where, o)
  local entry, checked = begin("storm", where, o)
  if not entry then return nil, checked end
  entry.jitter_us, entry.reconnect_delay_us = checked.jitter, checked.reconnect_delay
  return entry
end

local action = options.choice("stop", "kill", "pause")

function M.broker(where, what, o)
  local word, expected = action(what)
  if not word then return nil, where .. ": expected " .. expected .. ", got " .. tostring(what) end
  local entry, checked = begin("broker", where, o)
  if not entry then return nil, checked end
  entry.action = word
  return entry
end

function M.clock(where, o)
  local entry, checked = begin("clock", where, o)
  if not entry then return nil, checked end
  entry.offset_us, entry.drift = checked.offset, checked.drift
  if (checked.offset or 0) == 0 and (checked.drift or 0) == 0 then return nil, where .. ": give it an offset, a drift, or both" end
  return entry
end

function M.custom(where, fn, o)
  if type(fn) ~= "function" then return nil, where .. ": expected a function(run), got a " .. type(fn) end
  local entry, checked = begin("custom", where, o)
  if not entry then return nil, checked end
  return entry
end

-- ------------------------------------------------------------------------------------------------------------------

-- "fleet.lua:12: " of who called the function that calls the function that calls this.
local function place_of()
  local _, place = pcall(error, "", 5)
  return place
end

-- The line where it is of the scenario's own file, whose name messages may have shortened.
local function line_of(place)
  local file, line = place:match("^(.*):(%d+): $")
  if not file then return nil end
  local tail = file:gsub("^%.%.%.", "")
  if native.path == file or (tail ~= file and native.path:sub(-#tail) == tail) then return tonumber(line) end
end

--- What authors get of an experiment: an object that cannot be changed.
function M.seal(where, entry, fn)
  local place = place_of()
  entry.line = line_of(place)
  return options.seal({ entry = entry, fn = fn, where = where, place = place }, "an experiment")
end

--- The first of its groups that is not in `groups` { name = … }: what is wrong, or nil.
function M.unknown_group(entry, groups)
  for _, name in ipairs(entry.groups or { entry.group }) do
    if not groups[name] then
      local valid = options.sorted_keys(groups)
      local near = native.suggest(name, valid)
      return "there is no group \"" .. name .. "\"; valid: " .. table.concat(valid, ", ")
        .. (near and ("; did you mean \"" .. near .. "\"?") or "")
    end
  end
end

--- The key `timeline` of a scenario: a list of what chaos.link and the others return.
function M.timeline(list, scenario_groups, level)
  local groups, out = {}, {}
  for _, g in ipairs(scenario_groups) do groups[g.name] = true end
  for key in pairs(list) do
    if type(key) ~= "number" or key > #list then
      error("iotix.scenario: timeline: expected a list { chaos.link(…), … }, got the key " .. tostring(key), level)
    end
  end
  for i = 1, #list do
    local experiment = options.unseal(list[i], "an experiment")
    if not experiment then
      error("iotix.scenario: timeline[" .. i .. "]: expected what iotix.chaos.link and the like return, got a " .. type(list[i]), level)
    end
    local problem = M.unknown_group(experiment.entry, groups)
    if problem then error(experiment.place .. experiment.where .. ": " .. problem, 0) end
    out[i] = experiment
  end
  return out
end

--- Entries of the plan, and the functions that they name by number.
function M.plan(timeline)
  if not timeline or #timeline == 0 then return nil, {} end
  local list, functions = {}, {}
  for i, experiment in ipairs(timeline) do
    local entry = {}
    for key, value in pairs(experiment.entry) do entry[key] = value end
    if experiment.fn then entry.custom = M.number_of(functions, experiment.fn) end
    list[i] = entry
  end
  return list, functions
end

--- Keeps a function among those that have numbers (from 0).
function M.number_of(functions, fn)
  functions[#functions + 1] = fn
  return #functions - 1
end

return M
