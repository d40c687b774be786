-- The test function of a scenario: what `run` can do, and what its end means for the exit code.
local chaos_run = require "iotix._core.chaos_run"
local native = require "iotix._core.native"
local observer = require "iotix._core.observer"
local options = require "iotix._core.options"
local launch = require "iotix._core.launch"

local M = {}

local CHANGE_SECONDS = 30

local states = { "count", "started", "online", "connecting", "running", "error", "ever_online", "stopped", "created",
  "dropped", "failed" }

local function check_state(where, state)
  for i = 1, #states do
    if states[i] == state then return end
  end
  error(where .. ": unknown state \"" .. tostring(state) .. "\"; valid: " .. table.concat(states, ", "), 3)
end

local function index_list(v)
  if type(v) == "number" then v = { v } end
  if type(v) ~= "table" or #v == 0 then return nil, "an index or a list of indices, such as { 1, 2, 3 }" end
  local list = {}
  for i = 1, #v do
    if type(v[i]) ~= "number" or v[i] < 1 or v[i] ~= math.floor(v[i]) then return nil, "indices from 1" end
    list[i] = v[i]
  end
  return list
end

local selection = {
  devices = { index_list }, count = { "count" }, percentage = { launch.percentage }, all = { "boolean" },
}
local stop_options = {
  devices = selection.devices, count = selection.count, percentage = selection.percentage, all = selection.all,
  mode = { options.choice("graceful", "abrupt"), default = "graceful" },
}

-- One of devices, count, percentage; nothing, or all = true, means all.
local function selected(where, o, spec)
  o = options.check(o == nil and {} or o, spec, where, 3)
  local given = (o.devices and 1 or 0) + (o.count and 1 or 0) + (o.percentage and 1 or 0) + (o.all and 1 or 0)
  if given > 1 then error(where .. ": give one of devices, count, percentage and all", 3) end
  return { devices = o.devices, count = o.count, percentage = o.percentage, mode = o.mode }
end

-- true, answer | nil, message, code. A mistake of the author raises at the line of who called the function that calls this.
local function change(where, definition, op, arguments)
  arguments = arguments or {}
  arguments.op, arguments.group = op, definition.name
  local answer, problem, code = native.change(arguments, CHANGE_SECONDS)
  if answer then return true, answer end
  if code == "invalid" then error(where .. ": " .. problem, 3) end
  return nil, problem, code
end

-- What can be done to a running group.
local function add_changes(group, definition)
  function group:start(o)
    local ok, answer, code = change("group:start", definition, "start", selected("group:start", o, selection))
    return ok, answer, code
  end

  function group:restart(o)
    local ok, answer, code = change("group:restart", definition, "restart", selected("group:restart", o, selection))
    return ok, answer, code
  end

  function group:remove(o)
    local ok, answer, code = change("group:remove", definition, "remove", selected("group:remove", o, selection))
    return ok, answer, code
  end

  function group:stop(o)
    local ok, answer, code = change("group:stop", definition, "stop", selected("group:stop", o, stop_options))
    return ok, answer, code
  end

  --- The numbers of the group as the shards have them now.
  function group:status()
    local ok, answer, code = change("group:status", definition, "status")
    if ok then return answer end
    return nil, answer, code
  end

  --- Devices 1 to n are there afterwards.
  function group:scale(n)
    local count = options.types.count(n)
    if not count then error("group:scale: expected a number of devices, got " .. tostring(n), 2) end
    local ok, answer, code = change("group:scale", definition, "scale", { count = count })
    return ok, answer, code
  end

  --- The interval of one attribute of the model, or with nil of all.
  function group:interval(attribute, interval)
    if attribute ~= nil and type(attribute) ~= "string" then
      error("group:interval: expected the name of an attribute, or nil for all, got a " .. type(attribute), 2)
    end
    local us, problem = native.duration(interval, true)
    if not us then error("group:interval: " .. problem, 2) end
    if us % 1000 ~= 0 then error("group:interval: expected whole milliseconds", 2) end
    local ok, answer, code = change("group:interval", definition, "interval", { attribute = attribute, interval_ms = us / 1000 })
    return ok, answer, code
  end

  --- The generator of one attribute of the model.
  function group:generator(attribute, generator)
    if type(attribute) ~= "string" then
      error("group:generator: expected the name of an attribute, got a " .. type(attribute), 2)
    end
    if type(generator) ~= "table" then
      error("group:generator: expected a table such as { type = \"constant\", value = 1 }, got a " .. type(generator), 2)
    end
    local ok, answer, code = change("group:generator", definition, "generator", { attribute = attribute, generator = generator })
    return ok, answer, code
  end

  --- Some devices lose their connection, now or from now on.
  function group:dropout(o)
    local d, expected, problem = launch.dropout(o, false)
    if not d then error("group:dropout: " .. (problem or "expected " .. expected), 2) end
    local ok, answer, code = change("group:dropout", definition, "dropout", { dropout = d })
    return ok, answer, code
  end

  --- The group's model and behaviour file as they are on disk now. What is broken is refused and the old goes on.
  function group:reload()
    local answer, problem, code = native.change({ op = "reload", group = definition.name }, CHANGE_SECONDS)
    if answer then return true, answer end
    return nil, problem, code
  end
end

local function group_object(definition, scenario)
  local group = {}
  add_changes(group, definition)
  chaos_run.add_to_group(group, definition, scenario)

  --- How many devices are in that state now (at most about 250 ms old); without a state: all.
  function group:count(state)
    state = state or "count"
    check_state("group:count", state)
    local status = native.status()
    local mine = status.groups and status.groups[definition.name]
    return mine and mine[state] or 0
  end

  --- Waits until at least n devices are in that state.
  function group:wait(state, n, within)
    check_state("group:wait", state)
    if type(n) ~= "number" then error("group:wait: expected a number of devices, got a " .. type(n), 2) end
    local us, problem = native.duration(within or 30, true)
    if not us then error("group:wait: within: " .. problem, 2) end
    local deadline = native.elapsed() + us / 1e6
    while true do
      local have = group:count(state)
      if have >= n then return have end
      if native.elapsed() >= deadline then
        return nil, string.format("only %d of %s devices of %s are %s", have, tostring(n), definition.name, state), "timeout"
      end
      native.sleep(0.1)
    end
  end

  --- The full topic of a device's channel, as the device itself expands it.
  function group:topic(index, channel)
    if type(index) ~= "number" or index < 1 or index ~= math.floor(index) then
      error("group:topic: the device's index is a whole number from 1", 2)
    end
    if type(channel) ~= "string" or channel == "" then error("group:topic: expected the name of a channel, such as \"state\"", 2) end
    if channel:find("/", 1, true) then return (channel:gsub("^/", "")) end -- as dev:topic does
    local function expand(pattern, device_id)
      return (pattern:gsub("%$?{(%w+)}", { groupId = definition.name, index = string.format("%d", index), deviceId = device_id }))
    end
    local id = expand(definition.id or "${groupId}-${index}", nil)
    return expand(definition.topics or "${groupId}/${deviceId}", id) .. "/" .. channel
  end

  --- Sends a command to one device: { command =, params =, id = } on its command topic.
  function group:command(index, name, parameters, id)
    if type(index) ~= "number" or index < 1 or index ~= math.floor(index) then
      error("group:command: the device's index is a whole number from 1", 2)
    end
    if type(name) ~= "string" then error("group:command: expected the name of a command, got a " .. type(name), 2) end
    local text, problem = native.json { command = name, params = parameters, id = id }
    if not text then error("group:command: " .. problem, 2) end
    return M.publish(group:topic(index, "command"), text)
  end

  return M.readonly(group, "a group")
end

function M.readonly(methods, what)
  local function refuse() error(what .. " cannot be changed", 2) end
  return setmetatable({}, { __metatable = false, __index = methods, __newindex = refuse })
end

local publish_spec = { qos = { "qos", default = 1 }, retain = { "boolean", default = false }, broker = { "string" } }

function M.publish(topic, payload, o)
  if o == nil then o = {} end
  o = options.check(o, publish_spec, "run:publish", 2)
  if type(topic) ~= "string" or topic == "" then error("run:publish: expected a topic, got a " .. type(topic), 2) end
  if payload == nil then payload = "" end
  if type(payload) == "function" then error("run:publish: a function has no JSON form", 2) end
  if type(payload) == "table" then
    local text, problem = native.json(payload)
    if not text then error("run:publish: " .. problem, 2) end
    payload = text
  end
  local ok, problem, code = observer.connect(o.broker)
  if not ok then return nil, problem, code end
  ok, problem, code = native.observer_publish(topic, tostring(payload), o.qos, o.retain, o.broker)
  if code == "invalid" then error("run:publish: " .. problem, 2) end
  return ok, problem, code
end

-- alone: what run:fail does where there is no test that could fail.
local function run_object(scenario, alone)
  local run = { name = scenario.name }
  local groups = {}
  for _, g in ipairs(scenario.groups) do groups[g.name] = group_object(g, scenario) end
  chaos_run.add_to_run(run, scenario)

  --- Sleeps until that much of the run has passed.
  function run:at(when) return native.sleep_until(when) end
  function run:group(name)
    if not groups[name] then
      error("run:group: no group \"" .. tostring(name) .. "\"; valid: " .. table.concat(options.sorted_keys(groups), ", "), 2)
    end
    return groups[name]
  end
  --- Publishes through the observer: a table goes out as JSON.
  function run:publish(topic, payload, o) return M.publish(topic, payload, o) end
  function run:elapsed() return native.elapsed() end
  function run:log(level, text)
    native.log(options.log_line("run:log", level, text))
  end
  --- Marks the run failed (exit code 110) and ends the test.
  function run:fail(reason)
    local message = tostring(reason or "run:fail was called")
    if alone then error(message, 0) end
    local over = native.acting_run() and native.act_over or native.test_over
    over(110, message) -- also from a task that the test spawned
    error({ iotix_fail = true, message = message }, 0)
  end
  return M.readonly(run, "run")
end

--- A function of the timeline: an error is its experiment's.
function M.custom(scenario, n)
  local ok, problem = xpcall(scenario.customs[n + 1], native.traceback, run_object(scenario, not scenario.test))
  if not ok then error(tostring(type(problem) == "table" and rawget(problem, "message") or problem), 0) end
end

-- Exit code and message of what a function of the director raised.
local function outcome(problem, what)
  if type(problem) ~= "table" then return 107, tostring(problem) end
  local message = tostring(rawget(problem, "message") or "the " .. what .. " failed")
  if rawget(problem, "iotix_abort") then return 108, message end
  if rawget(problem, "iotix_expect") or rawget(problem, "iotix_fail") then return 110, message end
  return 107, "the " .. what .. " raised a table without a message"
end

function M.run(scenario)
  local ok, problem = xpcall(scenario.test, native.traceback, run_object(scenario))
  if ok then return native.test_over(0) end
  return native.test_over(outcome(problem, "test"))
end

--- Setup or teardown. What setup returns goes to the devices.
function M.act(scenario, which)
  local ok, result = xpcall(scenario[which], native.traceback, run_object(scenario))
  if not ok then return native.act_over(outcome(result, which)) end
  return native.act_over(0, nil, which == "setup" and result or nil)
end

return M
