-- iotix.chaos: what goes wrong with the network, the broker and the clocks, and when. Everything here returns plain data for the
-- scenario's `timeline`, or for run:chaos while a test runs.
local experiment = require "iotix._core.chaos_experiment"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local profiles = require "iotix._core.chaos_profile"

local M = {}

-- Kinds whose only argument are options.
for _, kind in ipairs { "partition", "disconnect", "storm", "clock" } do
  local where = "iotix.chaos." .. kind
  M[kind] = function(o)
    local entry, problem = experiment[kind](where, o)
    if not entry then error(problem, 2) end
    local sealed = experiment.seal(where, entry)
    return sealed
  end
end

M.dropout = M.disconnect

--- A bad network: the name of a profile, a profile, or a fault.
function M.link(what, o)
  local entry, problem = experiment.link("iotix.chaos.link", what, o)
  if not entry then error(problem, 2) end
  local sealed = experiment.seal("iotix.chaos.link", entry)
  return sealed
end

--- The embedded broker is stopped, killed or paused.
function M.broker(action, o)
  local entry, problem = experiment.broker("iotix.chaos.broker", action, o)
  if not entry then error(problem, 2) end
  local sealed = experiment.seal("iotix.chaos.broker", entry)
  return sealed
end

--- A function(run) of the author's own, in a task; what it began with run:chaos is healed when it returns or is cancelled.
function M.custom(fn, o)
  local entry, problem = experiment.custom("iotix.chaos.custom", fn, o)
  if not entry then error(problem, 2) end
  local sealed = experiment.seal("iotix.chaos.custom", entry, fn)
  return sealed
end

--- A profile of the author's own; from then on chaos.link knows its name.
function M.profile(t)
  options.only_while_loading("iotix.chaos.profile")
  local p, problem = profiles.new("iotix.chaos.profile", t)
  if not p then error(problem, 2) end
  return p
end

--- A profile of a JSON file beside the scenario.
function M.load(name)
  options.only_while_loading("iotix.chaos.load")
  local p, problem = profiles.load("iotix.chaos.load", name)
  if not p then error(problem, 2) end
  return p
end

--- All profiles, by name.
function M.profiles() return profiles.list() end

local trace_spec = { loop = { "boolean", default = false } }

--- A measured trace of a CSV file beside the scenario, for the key `trace` of a fault.
function M.trace(name, o)
  options.only_while_loading("iotix.chaos.trace")
  o = options.check(o == nil and {} or o, trace_spec, "iotix.chaos.trace", 2)
  local text, problem = native.chaos_file(name)
  if not text then error("iotix.chaos.trace: " .. problem, 2) end
  return { csv = text, ["repeat"] = o.loop }
end

return M
