-- The test function of a scenario: what `run` can do, and what its end means for the exit code.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local states = { "count", "started", "online", "connecting", "running", "error", "ever_online", "stopped", "created" }

local function group_object(definition)
  local group = {}

  --- How many devices are in that state now (at most about 250 ms old); without a state: all.
  function group:count(state)
    state = state or "count"
    local known = false
    for i = 1, #states do known = known or states[i] == state end
    if not known then error("group:count: unknown state \"" .. tostring(state) .. "\"; valid: " .. table.concat(states, ", "), 2) end
    local status = native.status()
    local mine = status.groups and status.groups[definition.name]
    return mine and mine[state] or 0
  end

  --- Waits until at least n devices are in that state.
  function group:wait(state, n, within)
    local deadline = native.elapsed() + (native.duration(within or 30, true) or error("group:wait: within is a duration", 2)) / 1e6
    while true do
      local have = group:count(state)
      if have >= n then return have end
      if native.elapsed() >= deadline then
        return nil, string.format("only %d of %d devices of %s are %s", have, n, definition.name, state), "timeout"
      end
      native.sleep(0.1)
    end
  end

  --- The full topic of a device's channel, as the device itself expands it.
  function group:topic(index, channel)
    if type(index) ~= "number" or index < 1 or index ~= math.floor(index) then
      error("group:topic: the device's index is a whole number from 1", 2)
    end
    local function expand(pattern, device_id)
      return (pattern:gsub("%$?{(%w+)}", { groupId = definition.name, index = string.format("%d", index), deviceId = device_id }))
    end
    local id = expand(definition.id or "${groupId}-${index}", nil)
    return expand(definition.topics or "${groupId}/${deviceId}", id) .. "/" .. channel
  end

  --- Sends a command to one device: { command =, params =, id = } on its command topic.
  function group:command(index, name, parameters, id)
    local topic = group:topic(index, "command")
    return M.publish(topic, native.json { command = name, params = parameters, id = id })
  end

  return M.readonly(group, "a group")
end

function M.readonly(methods, what)
  local function refuse() error(what .. " cannot be changed", 2) end
  return setmetatable({}, { __metatable = false, __index = methods, __newindex = refuse })
end

local publish_spec = { qos = { "qos", default = 1 }, retain = { "boolean", default = false }, broker = { "string" } }

function M.publish(topic, payload, o)
  o = options.check(o or {}, publish_spec, "run:publish", 2)
  if type(payload) == "table" then
    local text, problem = native.json(payload)
    if not text then error("run:publish: " .. problem, 2) end
    payload = text
  end
  local ok, problem, code = native.observer_connect(10, o.broker)
  if not ok then return nil, problem, code end
  return native.observer_publish(topic, tostring(payload), o.qos, o.retain, o.broker)
end

local function run_object(scenario)
  local run = { name = scenario.name }
  local groups = {}
  for _, g in ipairs(scenario.groups) do groups[g.name] = group_object(g) end

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
    if text == nil then level, text = "info", level end
    native.log(level, tostring(text))
  end
  --- Marks the run failed (exit code 110) and ends the test.
  function run:fail(reason) error({ iotix_fail = true, message = tostring(reason or "run:fail was called") }, 0) end
  return M.readonly(run, "run")
end

function M.run(scenario)
  local ok, problem = xpcall(scenario.test, native.traceback, run_object(scenario))
  if ok then return native.test_over(0) end
  if type(problem) ~= "table" then return native.test_over(107, tostring(problem)) end
  local message = tostring(rawget(problem, "message") or "the test failed")
  if rawget(problem, "iotix_abort") then return native.test_over(108, message) end
  if rawget(problem, "iotix_expect") or rawget(problem, "iotix_fail") then return native.test_over(110, message) end
  return native.test_over(107, "the test raised a table without a message")
end

return M
