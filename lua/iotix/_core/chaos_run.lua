-- Experiments of a run that is on: run:chaos and what a group offers of it.
local experiment = require "iotix._core.chaos_experiment"
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local SECONDS = 30

local function request(op, more)
  more.op = op
  return native.change(more, SECONDS)
end

local function listed(number)
  local answer, problem, code = request("experiments", {})
  if not answer then return nil, problem, code end
  for _, entry in ipairs(answer.experiments) do
    if entry.number == number then return entry end
  end
  return nil, "experiment " .. number .. " is not there any more", "not_found"
end

local function readonly(methods, what)
  local function refuse() error(what .. " cannot be changed", 2) end
  return setmetatable({}, { __metatable = false, __index = methods, __newindex = refuse })
end

-- What run:chaos returns.
local function object_of(entry)
  local number = entry.number
  local object = { number = number, name = entry.name, kind = entry.kind }

  --- Heals it now; a later window does not come.
  function object:stop()
    local answer, problem, code = request("experiment_stop", { number = number })
    return answer, problem, code
  end

  --- How it stands: { state =, affected =, … }.
  function object:status()
    local answer, problem, code = listed(number)
    return answer, problem, code
  end

  --- Another fault in its place, while it acts (link, partition).
  function object:change(what, o)
    local fault, wrong = experiment.fault("experiment:change", what, o)
    if not fault then error(wrong, 2) end
    local answer, problem, code = request("experiment_retune", { number = number, fault = fault })
    if code == "invalid" then error("experiment:change: " .. problem, 2) end
    return answer, problem, code
  end

  return readonly(object, "an experiment")
end

-- Object | nil, message, code | nil, message, "invalid": the author's mistake, for the caller to raise.
local function start(scenario, where, sealed)
  local entry = {}
  for key, value in pairs(sealed.entry) do entry[key] = value end
  local groups = {}
  for _, g in ipairs(scenario.groups) do groups[g.name] = true end
  local problem = experiment.unknown_group(entry, groups)
  if problem then return nil, where .. ": " .. problem, "invalid" end
  if sealed.fn then entry.custom = experiment.number_of(scenario.customs, sealed.fn) end
  local answer, code
  answer, problem, code = request("experiment", { experiment = entry })
  if answer then return object_of(answer) end
  return nil, code == "invalid" and where .. ": " .. problem or problem, code
end

local function own_group(where, o, name)
  if o ~= nil and type(o) ~= "table" then return nil, where .. ": expected a table { … }, got a " .. type(o) end
  local copy = { group = name }
  for key, value in pairs(o or {}) do
    if key == "group" or key == "groups" then return nil, where .. ": " .. key .. ": it is this group that is meant" end
    copy[key] = value
  end
  return copy
end

function M.add_to_run(run, scenario)
  --- Begins an experiment now, or at its `from` when that is to come.
  function run:chaos(what)
    local sealed = options.unseal(what, "an experiment")
    if not sealed then error("run:chaos: expected what iotix.chaos.link and the like return, got a " .. type(what), 2) end
    local object, problem, code = start(scenario, "run:chaos", sealed)
    if code == "invalid" then error(problem, 2) end
    return object, problem, code
  end

  --- All experiments of the run, those of the timeline too.
  function run:experiments()
    local answer, problem, code = request("experiments", {})
    if not answer then return nil, problem, code end
    return answer.experiments
  end
end

-- The groups that an experiment of the list is about are this one alone.
local function about_alone(entry, name)
  return entry.groups and #entry.groups == 1 and entry.groups[1] == name
end

function M.add_to_group(group, definition, scenario)
  local name = definition.name

  --- A bad network for this group, as iotix.chaos.link; from now on until `to`, :heal or the end of the run.
  function group:link(what, o)
    local mine, problem = own_group("group:link", o, name)
    local entry, object, code
    if mine then entry, problem = experiment.link("group:link", what, mine) end
    if not entry then error(problem, 2) end
    object, problem, code = start(scenario, "group:link", { entry = entry })
    if code == "invalid" then error(problem, 2) end
    return object, problem, code
  end

  --- Cuts this group off, as iotix.chaos.partition.
  function group:partition(o)
    local mine, problem = own_group("group:partition", o, name)
    local entry, object, code
    if mine then entry, problem = experiment.partition("group:partition", mine) end
    if not entry then error(problem, 2) end
    object, problem, code = start(scenario, "group:partition", { entry = entry })
    if code == "invalid" then error(problem, 2) end
    return object, problem, code
  end

  --- Ends the faults of the network that act on this group and on no other. Returns how many.
  function group:heal()
    local answer, problem, code = request("experiments", {})
    if not answer then return nil, problem, code end
    local healed = 0
    for _, entry in ipairs(answer.experiments) do
      local network = entry.kind == "link" or entry.kind == "partition"
      if network and entry.state == "running" and about_alone(entry, name) then
        local ok
        ok, problem, code = request("experiment_stop", { number = entry.number })
        if not ok and code ~= "not_found" and code ~= "state" then return nil, problem, code end
        healed = healed + (ok and 1 or 0)
      end
    end
    return healed
  end
end

return M
