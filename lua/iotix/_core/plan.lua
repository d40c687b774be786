-- From what the scenario file returned to the plan that travels to the supervisor (runtime/engine/plan.h describes it) and the
-- functions that stay in this process.
local data = require "iotix.data"
local chaos_experiment = require "iotix._core.chaos_experiment"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local params = require "iotix._core.params"
local command = require "iotix._core.command"
local connection = require "iotix._core.connection"
local handlers = require "iotix._core.handlers"
local ledger = require "iotix._core.ledger"
local reply = require "iotix._core.reply"
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

-- Its MQTT 5 properties are among the adapter's options.
local function will_of(will)
  return will and { topic = will.topic, payload = will.payload, qos = will.qos, retain = will.retain }
end

local function check_patterns(g, c)
  local will, credentials = c.will or {}, c.credentials or {}
  local patterns = {
    id = g.id, topics = g.topics, client_id = c.client_id, username = c.username, password = c.password,
    ["will.topic"] = will.topic, ["will.payload"] = will.payload, token = credentials.token, ["tls.cert"] = credentials.tls_cert,
    ["tls.key"] = credentials.tls_key, ["tls.mint.name"] = credentials.tls_name, ["tls.psk.identity"] = credentials.psk_identity,
    ["tls.psk.key"] = credentials.psk_key,
  }
  if credentials.jwt then
    patterns["jwt.key"], patterns["jwt.key_id"] = credentials.jwt.key, credentials.jwt.key_id
    for name, claim in pairs(credentials.jwt.claims or {}) do
      if type(claim) == "string" then patterns["jwt.claims." .. tostring(name)] = claim end
    end
  end
  data.check_patterns(native.path .. ":" .. g.line .. ": iotix.group \"" .. g.name .. "\"", g.data, patterns)
end

local function protocol_of(g) return g.model_doc and g.model_doc.protocol or nil end

-- The target that a model names, for when nobody else does: neither the group nor the scenario nor the command line.
local function model_broker(s, g)
  local c = g.model_doc and g.model_doc.connection
  if not c or not c.broker then return nil end
  local protocol = g.model_doc.protocol
  local own = s.connection and s.connection.protocol == "mqtt" and s.connection.url
  if s[protocol] or protocol == "mqtt" and (s.broker or own) then return nil end
  if c.broker:find("://", 1, true) then return c.broker end
  protocol = protocol .. (c.tls and "s" or "")
  return protocol .. "://" .. c.broker .. (c.port and ":" .. c.port or "")
end

-- How the devices of a group connect: its own connection, or the scenario's as far as the group's model speaks its protocol.
local function connection_of(s, g)
  if g.connection then return g.connection end
  local protocol = protocol_of(g)
  if protocol and s[protocol] and s[protocol].connection then return s[protocol].connection end
  if s.connection and (not protocol or protocol == s.connection.protocol) then return s.connection end
  return {}
end

-- The URL of a group where its connection says so; of http and coap always, since the scenario's broker is none for them.
local function broker_of(s, g, c)
  if c.protocol == "http" or c.protocol == "coap" then
    local fallback = s[c.protocol] and s[c.protocol].url or c.protocol .. "://embedded"
    return c.url or fallback
  end
  return (g.connection or c.protocol ~= "mqtt") and c.url or nil
end

local function credentials_of(c)
  local t = c.credentials
  if not t or next(t) == nil then return nil end
  return t
end

-- User properties are MQTT 5's: with 3.1.1 every publish would fail.
local function stamp_of(s, g, c)
  local five = c.options and c.options.version == "5"
  local counted = ledger.has(s.ledger, g.name)
  local stamp = g.stamp or s.stamp or counted and (s.ledger.stamp or five and "property") or nil
  if stamp == "property" and (c.protocol or "mqtt") == "mqtt" and not five then
    error(native.path .. ":" .. g.line .. ": iotix.group \"" .. g.name .. "\": stamp = \"property\" is a user property of MQTT 5: "
      .. "connect with iotix.mqtt { version = \"5\" }, or use stamp = \"topic\" or { payload = \"NAME\" }", 0)
  end
  return stamp
end

local function group_plan(s, g)
  local c = connection_of(s, g)
  check_patterns(g, c)
  local model_connection = g.model_doc and g.model_doc.connection or {}
  local broker = broker_of(s, g, c)
  return {
    name = g.name, line = g.line, count = g.count, model = g.model_path, behaviour = g.behaviour ~= nil,
    behaviour_path = g.behaviour_path, behaviour_text = g.behaviour_text, dropout = g.dropout,
    model_broker = not broker and model_broker(s, g) or nil, launch = launch_of(g.launch), broker = broker, adapter = c.options,
    id = g.id or "${groupId}-${index}", client_id = c.client_id, topics = g.topics or "${groupId}/${deviceId}",
    username = c.username, password = c.password, credentials = credentials_of(c), will = will_of(c.will),
    qos = g.qos or model_connection.qos or (g.model and 1) or 0,
    on_error = g.on_error, max_restarts = g.max_restarts, memory = g.memory, tags = g.tags, data = data.plan(g.data), proxies = g.proxies,
    stamp = stamp_of(s, g, c),
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
  "shards", "io", "progress", "progress_interval", "summary", "log_level", "log_format", "stop_timeout",
}

local function check_options(o)
  local spec = {}
  for _, name in ipairs(option_names) do spec[name] = { "any" } end
  return options.check(o, spec, "iotix.scenario: options", 3)
end

-- Schemes of the run's own targets that connections which are opened while the run is on go to.
local function embedded_of(s, to_broker)
  local list, seen = {}, {}
  local function add(scheme)
    if not seen[scheme] then list[#list + 1] = scheme end
    seen[scheme] = true
  end
  for _, scheme in ipairs(connection.embedded()) do add(scheme) end
  if to_broker and (s.broker or "embedded") == "embedded" and not (s.connection and s.connection.protocol == "mqtt") then add("mqtt") end
  for _, protocol in ipairs(options.sorted_keys(connection.default_used)) do
    if not s[protocol] then add(protocol) end
  end
  return #list > 0 and list or nil
end

local function build(s)
  local groups, models, behaviours, used = {}, {}, {}, {}
  for i, g in ipairs(s.groups) do
    used[connection_of(s, g)] = true
    groups[i] = group_plan(s, g)
    if g.model_path then
      local doc = g.model_doc
      models[g.model_path] = { text = g.model_text, id = doc.id, version = doc.version or "1.0.0",
        credential = doc.connection and doc.connection.passwordRef, files = files_of(model.places[g.model_path]) }
      handlers.look(g, model.places[g.model_path], model.children[g.model_path])
    end
    behaviours[g.name] = g.behaviour
  end
  local timeline
  timeline, s.customs = chaos_experiment.plan(s.timeline)
  local further, to_broker = connection.further(used)
  local plan = {
    name = s.name, description = s.description, file = native.path, sha256 = native.sha256, duration = s.duration,
    broker = s.connection and s.connection.protocol == "mqtt" and s.connection.url or s.broker or nil,
    http = s.http and s.http.url or nil, coap = s.coap and s.coap.url or nil, embedded = embedded_of(s, to_broker), seed = s.seed,
    connections = further,
    stop_timeout = s.stop_timeout, on_shard_lost = s.on_shard_lost, has_test = s.test ~= nil,
    options = check_options(s.options), params = params.declared, groups = groups, models = models,
    has_setup = s.setup ~= nil, has_teardown = s.teardown ~= nil, setup_timeout = s.setup_timeout,
    teardown_timeout = s.teardown_timeout, warmup = s.warmup, stages = s.stages, baseline = s.baseline,
    metrics = native.metrics(), thresholds = s.thresholds, timeline = timeline, sinks = s.sinks,
    ledger = ledger.plan(s.ledger), line = s.line,
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
    custom_task = command.act, hook_resolver = handlers.resolve,
    message_runner = reply.message, serve_runner = reply.serve }
  functions.custom_runner = function(n) return require("iotix._core.test").custom(scenario, n) end
  functions.reload = function(name) return require("iotix._core.reload").run(scenario, name) end
  functions.act_runner = function(which) return require("iotix._core.test").act(scenario, which) end
  if scenario.test then
    functions.test_runner = function() return require("iotix._core.test").run(scenario) end
  end
  return plan, functions
end

return setmetatable(M, { __call = function(_, returned) return main(returned) end })
