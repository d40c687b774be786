-- From what the scenario file returned to the plan that travels to the supervisor (runtime/engine/plan.h describes it) and the
-- functions that stay in this process.
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local params = require "iotix._core.params"

local M = {}

-- JSON of the plan: absent keys are null, so nothing here may be a hole in a list.
local function launch_of(l)
  return { strategy = l.strategy, rate = l.rate, delay = l.delay, batch_size = l.batch_size, max_delay = l.max_delay, base = l.base }
end

local function group_plan(s, g)
  local c = g.connection or s.connection or {}
  local will = c.will
  local model_connection = g.model_doc and g.model_doc.connection or {}
  return {
    name = g.name, line = g.line, count = g.count, model = g.model_path, behaviour = g.behaviour ~= nil,
    launch = launch_of(g.launch), broker = g.connection and g.connection.broker or nil, mqtt = c.options,
    id = g.id or "${groupId}-${index}", client_id = c.client_id, topics = g.topics or "${groupId}/${deviceId}",
    username = c.username, password = c.password, will = will,
    qos = g.qos or model_connection.qos or (g.model and 1) or 0,
    on_error = g.on_error, max_restarts = g.max_restarts, memory = g.memory, tags = g.tags,
  }
end

local option_names = {
  "shards", "progress", "progress_interval", "summary", "log_level", "log_format", "stop_timeout",
}

local function check_options(o)
  local spec = {}
  for _, name in ipairs(option_names) do spec[name] = { "any" } end
  return options.check(o, spec, "iotix.scenario: options", 3)
end

local function build(s)
  local groups, models, behaviours = {}, {}, {}
  for i, g in ipairs(s.groups) do
    groups[i] = group_plan(s, g)
    if g.model_path then
      models[g.model_path] = { text = g.model_text, id = g.model_doc and g.model_doc.id, version = g.model_doc and g.model_doc.version }
    end
    behaviours[g.name] = g.behaviour
  end
  local plan = {
    name = s.name, description = s.description, file = native.path, sha256 = native.sha256, duration = s.duration,
    broker = s.connection and s.connection.broker or s.broker, seed = s.seed, stop_timeout = s.stop_timeout,
    on_shard_lost = s.on_shard_lost, has_test = s.test ~= nil, options = check_options(s.options), params = params.declared,
    groups = groups, models = models, thresholds = s.thresholds, line = s.line,
  }
  return plan, behaviours
end

local function main(returned)
  local scenario = options.unseal(returned, "a scenario")
  if not scenario then
    error(native.path .. ": iotix: the file must end with: return iotix.scenario { … } (it returned "
      .. (returned == nil and "nothing" or "a " .. type(returned)) .. ")", 0)
  end
  params.check_all_known()
  local plan, behaviours = build(scenario)
  local functions = { behaviours = behaviours, command_runner = require("iotix._core.command").run }
  if scenario.test then
    functions.test_runner = function() return require("iotix._core.test").run(scenario) end
  end
  return plan, functions
end

return setmetatable(M, { __call = function(_, returned) return main(returned) end })
