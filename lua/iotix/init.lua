-- The public library: what `require "iotix"` gives the author of a scenario. Everything here returns plain data or blocks the
-- calling task; loading a scenario runs nothing. The annotated reference is lua/iotix/_meta/iotix.lua.
local native = require "iotix._core.native"
local adapter = require "iotix.adapter"
local chaos = require "iotix.chaos"
local chaos_experiment = require "iotix._core.chaos_experiment"
local options = require "iotix._core.options"
local connection = require "iotix._core.connection"
local mqtt = require "iotix.mqtt"
local observer = require "iotix._core.observer"
local params = require "iotix._core.params"
local expect = require "iotix.expect"
local data = require "iotix.data"
local handlers = require "iotix._core.handlers"
local ledger = require "iotix._core.ledger"
local launch = require "iotix._core.launch"
local proxies = require "iotix._core.proxies"
local stages = require "iotix._core.stages"

local M = {}

M.version = "0.1.0"
M.gen = require "iotix.gen"
M.metrics = require "iotix.metrics"
M.mqtt = mqtt.connection
M.http = require("iotix.http").connection
M.coap = require("iotix.coap").connection
M.expect = expect
M.params = params.declare
M.adapter = adapter.adapter
M.connection = adapter.connection
M.link = require "iotix.link"
M.sink = require "iotix.sink"
M.sleep = native.sleep
M.spawn = native.spawn
M.now = native.now
M.elapsed = native.elapsed
M.json = require "iotix.json"
M.payload = require "iotix.payload"
M.data = data.open
M.fsm = require("iotix.fsm").new
M.behaviour = require "iotix.behaviour"
M.chaos = chaos
M.barrier = native.barrier
M.setup_data = native.setup_data
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
  if native.acting_run() then native.act_over(108, message) else native.test_over(108, message) end
  error({ iotix_abort = true, message = message }, 0)
end

local function check_stamp(v)
  if v == "property" or v == "topic" then return v end
  if type(v) == "table" and type(v.payload) == "string" and next(v, next(v)) == nil
    and v.payload:find("^[%w_-]+$") and #v.payload <= 32 then
    return { payload = v.payload }
  end
  return nil, "\"property\", \"topic\" or { payload = \"NAME\" }, a name of at most 32 letters, digits, _ and -"
end

-- A function, or a file beside the scenario that returns one.
local function check_behaviour(v)
  if type(v) == "function" then return v end
  if type(v) == "string" and v:find("%.lua$") then return v end
  return nil, "a function, or a file beside the scenario such as \"valve.lua\""
end

-- Path, text and function of a behaviour file. In a shard the text of the plan is what counts, whatever the file has become.
local function load_behaviour(name, where)
  local path, text = native.behaviour_read(name)
  local fn, problem
  if path then fn, problem = native.behaviour_compile(path, text) end
  if fn then return path, text, fn end
  if native.lenient then return name, "", function() end end
  if not path then error(where .. ": behaviour: " .. text, 3) end
  local file, line, column, rest = native.position(problem) -- the file's own, or that of a module it requires
  native.diagnostic("IOTX001", file ~= "" and file or path, line, column, rest, "")
  return path, text, function() end
end

-- As _core/model.lua does; in a shard what it finds is the plan's business.
local function load_model(name, where)
  local model = require "iotix._core.model"
  if not native.lenient then return model.load(name, where) end
  local ok, path, text, doc = pcall(model.load, name, where)
  if ok then return path, text, doc end
  return name, "", {}
end

local group_spec = {
  name = { "name", required = true },
  count = { "count" },
  model = { "string" },
  behaviour = { check_behaviour },
  launch = { launch.check, default = { strategy = "immediate" } },
  dropout = { launch.dropouts },
  proxies = { proxies.check },
  connection = { connection.is_connection },
  id = { "pattern" },
  topics = { "pattern" },
  qos = { "qos" },
  on_error = { options.choice("stop", "restart", "fail"), default = "stop" },
  max_restarts = { "times", default = 10 },
  memory = { "size", default = 1048576 },
  tags = { "table" },
  data = { data.is_data },
  handlers = { handlers.check },
  stamp = { check_stamp },
}

--- A group of devices of one kind.
function M.group(t)
  options.only_while_loading("iotix.group")
  local where = "iotix.group"
  if type(t) == "table" and type(t.name) == "string" then where = where .. " \"" .. t.name .. "\"" end
  local g = options.check(t, group_spec, where, 2)
  if not g.model and not g.behaviour and not g.proxies then
    error(where .. ": give it a model, a behaviour, or both", 2)
  end
  if g.handlers and not g.model then error(where .. ": handlers: they are for a model, and there is none", 2) end
  if g.memory < 16384 then error(where .. ": memory: at least 16KB a device", 2) end
  if g.model then
    g.model_path, g.model_text, g.model_doc = load_model(g.model, where)
  end
  if type(g.behaviour) == "string" then
    g.behaviour_file = g.behaviour
    g.behaviour_path, g.behaviour_text, g.behaviour = load_behaviour(g.behaviour, where)
  end
  local peak = launch.peak(g.launch)
  if peak and g.count and peak > g.count then
    error(where .. ": launch: a stage wants " .. peak .. " devices, count is " .. g.count
      .. "; without count there are as many as the largest stage wants", 2)
  end
  g.count = g.count or peak or proxies.count(g.proxies) or 1
  if g.proxies and proxies.count(g.proxies) > g.count then
    error(where .. ": proxies: " .. proxies.count(g.proxies) .. " of them, and count is " .. g.count, 2)
  end
  g.line = native.caller_line(2)
  return options.seal(g, "a group")
end

-- Some time: without any a function could not even begin.
local function timeout(v)
  local us, expected = options.types.duration(v)
  if us and us > 0 then return us end
  return nil, expected or "a duration above 0"
end

local scenario_spec = {
  name = { "name", required = true },
  description = { "text" },
  duration = { "duration" },
  broker = { "string" },
  http = { connection.target("http") },
  coap = { connection.target("coap") },
  connection = { connection.is_connection },
  groups = { "table", required = true },
  thresholds = { "table", default = {} },
  timeline = { "table" },
  test = { "function" },
  setup = { "function" },
  teardown = { "function" },
  setup_timeout = { timeout, default = 60000000 },
  teardown_timeout = { timeout, default = 60000000 },
  warmup = { "duration" },
  stages = { stages.check },
  baseline = { "string" },
  seed = { "number" },
  stop_timeout = { "duration", default = 30000000 },
  on_shard_lost = { options.choice("restart", "fail"), default = "restart" },
  options = { "table", default = {} },
  stamp = { check_stamp },
  sinks = { require("iotix._core.sinks").check },
  ledger = { ledger.converter(check_stamp) },
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
  if not s.duration and not s.test and not s.stages then
    error("iotix.scenario: give it a duration, stages, a test, or several of them", 2)
  end
  if s.seed and (s.seed < 0 or s.seed ~= math.floor(s.seed) or s.seed > 9007199254740992) then
    error("iotix.scenario: seed: a whole number from 0 to 2^53", 2)
  end
  if s.stages then stages.check_run(s, 3) end
  if s.warmup and s.duration and s.warmup >= s.duration then
    error("iotix.scenario: warmup: it takes all of the duration: nothing would be measured", 2)
  end
  s.thresholds = require("iotix._core.thresholds").check(s.thresholds, 3)
  if s.ledger then ledger.check_groups(s.ledger, s.groups, 2) end
  if s.timeline then s.timeline = chaos_experiment.timeline(s.timeline, s.groups, 3) end
  s.line = native.caller_line(2)
  return options.seal(s, "a scenario")
end

return M
