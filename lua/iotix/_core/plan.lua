-- From what the scenario file returned to the plan that travels to the supervisor (runtime/engine/plan.h describes it) and the
-- functions that stay in this process.
local data = require "iotix.data"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local params = require "iotix._core.params"
local command = require "iotix._core.command"
local handlers = require "iotix._core.handlers"
local model = require "iotix._core.model"

local M = {}

-- JSON of the plan: absent keys are null, so nothing here may be a hole in a list.
local function launch_of(l)
  local stages
  for i, stage in ipairs(l.stages or {}) do
    stages = stages or {}
    stages[i] = { duration = stage.duration, target = stage.target }
  end
  return { strategy = l.strategy, rate = l.rate, delay = l.delay, batch_size = l.batch_size, max_delay = l.max_delay, base = l.base,
    over = l.over, stages = stages }
end

local function check_patterns(g, c)
  local will = c.will or {}
  data.check_patterns(native.path .. ":" .. g.line .. ": iotix.group \"" .. g.name .. "\"", g.data, {
    id = g.id, topics = g.topics, client_id = c.client_id, username = c.username, password = c.password,
    ["will.topic"] = will.topic, ["will.payload"] = will.payload,
  })
end

-- The target that a model names, for when nobody else does: neither the group nor the scenario nor the command line.
local function model_broker(s, g)
  local c = g.model_doc and g.model_doc.connection
  if not c or not c.broker or s.broker or (s.connection and s.connection.broker) then return nil end
  if c.broker:find("://", 1, true) then return c.broker end
  local protocol = g.model_doc.protocol .. (c.tls and "s" or "")
  return protocol .. "://" .. c.broker .. (c.port and ":" .. c.port or "")
end

local function group_plan(s, g)
  local c = g.connection or s.connection or {}
  local will = c.will
  check_patterns(g, c)
  local model_connection = g.model_doc and g.model_doc.connection or {}
  return {
    name = g.name, line = g.line, count = g.count, model = g.model_path, behaviour = g.behaviour ~= nil,
    behaviour_path = g.behaviour_path, behaviour_text = g.behaviour_text, dropout = g.dropout,
    model_broker = model_broker(s, g), launch = launch_of(g.launch), broker = g.connection and g.connection.broker or nil, mqtt = c.options,
    id = g.id or "${groupId}-${index}", client_id = c.client_id, topics = g.topics or "${groupId}/${deviceId}",
    username = c.username, password = c.password, will = will,
    qos = g.qos or model_connection.qos or (g.model and 1) or 0,
    on_error = g.on_error, max_restarts = g.max_restarts, memory = g.memory, tags = g.tags, data = data.plan(g.data), proxies = g.proxies,
  }
end

-- The files that a model was put together from: --watch looks at them.
local function files_of(places)
  local files, seen = {}, {}
  for _, place in pairs(places or {}) do
    if place.file and not seen[place.file] then
      seen[place.file] = true
      files[#files + 1] = place.file
    end
  end
  table.sort(files)
  return #files > 0 and files or nil
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
      local doc = g.model_doc
      models[g.model_path] = { text = g.model_text, id = doc.id, version = doc.version or "1.0.0",
        credential = doc.connection and doc.connection.passwordRef, files = files_of(model.places[g.model_path]) }
      handlers.look(g, model.places[g.model_path], model.children[g.model_path])
    end
    behaviours[g.name] = g.behaviour
  end
  local plan = {
    name = s.name, description = s.description, file = native.path, sha256 = native.sha256, duration = s.duration,
    broker = s.connection and s.connection.broker or s.broker or "embedded", seed = s.seed, stop_timeout = s.stop_timeout,
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
  local functions = { behaviours = behaviours, command_runner = command.run, command_task = command.carry_out,
    custom_task = command.act, hook_resolver = handlers.resolve }
  functions.reload = function(name) return require("iotix._core.reload").run(scenario, name) end
  if scenario.test then
    functions.test_runner = function() return require("iotix._core.test").run(scenario) end
  end
  return plan, functions
end

return setmetatable(M, { __call = function(_, returned) return main(returned) end })
