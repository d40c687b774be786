-- The public library: what `require "iotix"` gives the author of a scenario. Everything here returns plain data or blocks the
-- calling task; loading a scenario runs nothing. The annotated reference is lua/iotix/_meta/iotix.lua.
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local mqtt = require "iotix.mqtt"
local observer = require "iotix._core.observer"
local params = require "iotix._core.params"
local expect = require "iotix.expect"

local M = {}

M.version = "0.1.0"
M.gen = require "iotix.gen"
M.mqtt = mqtt.connection
M.expect = expect
M.params = params.declare
M.sleep = native.sleep
M.spawn = native.spawn
M.now = native.now
M.elapsed = native.elapsed
M.json = require "iotix.json"
M.args = native.args()

--- A value of the environment: `-e NAME=value`, then the process environment, then the default.
function M.env(name, default)
  if type(name) ~= "string" then error("iotix.env: expected the name of a variable, got " .. type(name), 2) end
  local value = native.env(name)
  if value == nil or value == "" then return default end
  return value
end

--- One line into the log, with the device's name when a device runs. iotix.log("text") or iotix.log("warn", "text").
function M.log(level, text)
  native.log(options.log_line("iotix.log", level, text))
end

--- Ends the run at once: exit code 108. Also from a task that the test spawned.
function M.abort(reason)
  observer.needs_test("iotix.abort")
  local message = tostring(reason or "iotix.abort was called")
  native.test_over(108, message)
  error({ iotix_abort = true, message = message }, 0)
end

local launch_spec = {
  strategy = { options.choice("immediate", "linear", "batch", "exponential"), default = "immediate" },
  rate = { "positive" },
  delay = { "duration" },
  batch_size = { "count" },
  max_delay = { "duration" },
  base = { "positive" },
}

local valid_launch = {
  immediate = {},
  linear = { rate = true, delay = true },
  batch = { batch_size = true, delay = true },
  exponential = { delay = true, max_delay = true, base = true },
}

local launch_table = options.nested(launch_spec, "launch")

local function check_launch(t)
  if type(t) ~= "table" then return nil, "a table such as { strategy = \"linear\", rate = 100 }" end
  local launch, _, problem = launch_table(t)
  if not launch then return nil, nil, problem end
  for key in pairs(launch) do
    if key ~= "strategy" and not valid_launch[launch.strategy][key] then
      return nil, nil, "launch: strategy \"" .. launch.strategy .. "\" has no " .. key .. "; it has: strategy"
        .. table.concat(options.sorted_keys(valid_launch[launch.strategy]), ", "):gsub("^(.)", ", %1")
    end
  end
  if launch.strategy == "linear" and not launch.rate == not launch.delay then
    return nil, nil, "launch: strategy \"linear\" needs either rate (devices a second) or delay"
  end
  return launch
end

local group_spec = {
  name = { "name", required = true },
  count = { "count", default = 1 },
  model = { "string" },
  behaviour = { "function" },
  launch = { check_launch, default = { strategy = "immediate" } },
  connection = { mqtt.is_connection },
  id = { "pattern" },
  topics = { "pattern" },
  qos = { "qos" },
  on_error = { options.choice("stop", "restart", "fail"), default = "stop" },
  max_restarts = { "times", default = 10 },
  memory = { "size", default = 1048576 },
  tags = { "table" },
}

--- A group of devices of one kind.
function M.group(t)
  options.only_while_loading("iotix.group")
  local where = "iotix.group"
  if type(t) == "table" and type(t.name) == "string" then where = where .. " \"" .. t.name .. "\"" end
  local g = options.check(t, group_spec, where, 2)
  if not g.model and not g.behaviour then
    error(where .. ": give it a model, a behaviour, or both", 2)
  end
  if g.memory < 16384 then error(where .. ": memory: at least 16KB a device", 2) end
  if g.model then
    g.model_path, g.model_text, g.model_doc = require("iotix._core.model").load(g.model, where)
  end
  g.line = native.caller_line(2)
  return options.seal(g, "a group")
end

local scenario_spec = {
  name = { "name", required = true },
  description = { "text" },
  duration = { "duration" },
  broker = { "string", default = "embedded" },
  connection = { mqtt.is_connection },
  groups = { "table", required = true },
  thresholds = { "table", default = {} },
  test = { "function" },
  seed = { "number" },
  stop_timeout = { "duration", default = 30000000 },
  on_shard_lost = { options.choice("restart", "fail"), default = "restart" },
  options = { "table", default = {} },
}

local function check_groups(groups)
  local seen, checked = {}, {}
  for key in pairs(groups) do
    if type(key) ~= "number" then error("iotix.scenario: groups: expected a list { a, b }, got the key " .. tostring(key), 3) end
    if key > #groups then error("iotix.scenario: groups[" .. #groups + 1 .. "]: expected what iotix.group returns, got a nil", 3) end
  end
  if #groups == 0 then error("iotix.scenario: groups: at least one group is needed", 3) end
  for i = 1, #groups do
    local g = options.unseal(groups[i], "a group")
    if not g then
      error("iotix.scenario: groups[" .. i .. "]: expected what iotix.group returns, got a " .. type(groups[i]), 3)
    end
    if seen[g.name] then error("iotix.scenario: two groups are named \"" .. g.name .. "\"", 3) end
    seen[g.name] = true
    checked[i] = g
  end
  return checked
end

--- The scenario: what the file returns.
function M.scenario(t)
  options.only_while_loading("iotix.scenario")
  local s = options.check(t, scenario_spec, "iotix.scenario", 2)
  s.groups = check_groups(s.groups)
  if not s.duration and not s.test then
    error("iotix.scenario: give it a duration, a test, or both", 2)
  end
  if s.seed and (s.seed < 0 or s.seed ~= math.floor(s.seed) or s.seed > 9007199254740992) then
    error("iotix.scenario: seed: a whole number from 0 to 2^53", 2)
  end
  s.thresholds = require("iotix._core.thresholds").check(s.thresholds, 3)
  s.line = native.caller_line(2)
  return options.seal(s, "a scenario")
end

return M
