-- Behaviours that need no coroutine of one's own: sensor, actuator and gateway make a function(dev) for `behaviour =` from a table
-- that is checked here; compose runs several in one device. The long halves are in _core/actuator.lua and _core/gateway.lua.
local options = require "iotix._core.options"
local native = require "iotix._core.native"
local values = require "iotix._core.values"
local actuator = require "iotix._core.actuator"
local gateway = require "iotix._core.gateway"

local M = {}

local function fail(text) error(text, 0) end

-- Raises at the line of who called the function that calls this.
local function checked(t, spec, where, more)
  local ok, o = pcall(function()
    local o = options.check(t, spec, where, fail)
    if more then more(o, where) end
    return o
  end)
  if not ok then error(o, 3) end
  return o
end

local deadband_spec = { deadband = { function(v)
  if type(v) == "number" and v >= 0 then return v end
  if type(v) ~= "table" or next(v) == nil then return nil, "a number of 0 or more, or a table { name = number }" end
  for name, width in pairs(v) do
    if type(name) ~= "string" or type(width) ~= "number" or width ~= width or width < 0 then
      return nil, nil, "report: deadband: " .. tostring(name) .. ": expected a number of 0 or more"
    end
  end
  return v
end, required = true } }

local function report_of(v)
  if v == "always" or v == "change" then return v end
  if type(v) == "table" then return options.nested(deadband_spec, "report")(v) end
  return nil, '"always", "change" or { deadband = … }'
end

local sensor_spec = {
  interval = { "duration", required = true }, jitter = { "duration", default = 0 }, values = { values.check, required = true },
  topic = { "string", default = "telemetry" }, qos = { "qos" }, retain = { "boolean" }, report = { report_of, default = "always" },
  on_command = { "function" },
}

local function check_timing(o, where)
  if o.interval and o.interval < 1000 then fail(where .. ": interval: at least 1ms") end
  if o.interval and o.jitter > o.interval / 2 then fail(where .. ": jitter: at most half the interval") end
end

local function check_sensor(o, where)
  check_timing(o, where)
  local band = type(o.report) == "table" and o.report.deadband
  if type(band) ~= "table" or type(o.values) == "function" then return end
  local names = options.sorted_keys(o.values)
  for _, name in ipairs(options.sorted_keys(band)) do
    if o.values[name] == nil then
      local near = native.suggest(name, names)
      fail(where .. ": report: deadband: there is no value \"" .. name .. "\"; there are: " .. table.concat(names, ", ")
        .. (near and ('; did you mean "' .. near .. '"?') or ""))
    end
  end
end

local function connect(dev)
  local ok, why = dev:connect()
  if not ok then error("not connected: " .. tostring(why), 0) end
end

--- Publishes a sample of its values every interval.
function M.sensor(t)
  local o = checked(t, sensor_spec, "iotix.behaviour.sensor", check_sensor)
  local interval, every = o.interval / 1e6, { jitter = o.jitter / 1e6 }
  local publish = (o.qos or o.retain) and { qos = o.qos, retain = o.retain } or nil
  local always, band = o.report == "always", type(o.report) == "table" and o.report.deadband or nil
  return function(dev)
    local source = values.start(o.values, dev)
    if o.on_command then dev:on("command", function(cmd) return o.on_command(dev, cmd) end) end
    connect(dev)
    local sample, last = {}, nil
    for _ in dev:every(interval, every) do
      source:draw(sample)
      if always then
        dev:publish(o.topic, sample, publish)
      elseif (not last or values.differ(last, sample, band)) and dev:publish(o.topic, sample, publish) then
        last = values.copy(sample)
      end
    end
  end
end

--- Takes commands, changes its state and publishes it.
function M.actuator(t)
  local o = checked(t, actuator.spec, "iotix.behaviour.actuator", actuator.check)
  return function(dev) return actuator.run(o, dev, connect) end
end

--- Speaks for its children over its own connection.
function M.gateway(t)
  local o = checked(t, gateway.spec, "iotix.behaviour.gateway", function(checked_options, where)
    check_timing(checked_options, where)
    gateway.check(checked_options, where)
  end)
  return function(dev) return gateway.run(o, dev, connect) end
end

--- One behaviour of several: each runs in a task of its own.
function M.compose(...)
  local list = { ... }
  local n = select("#", ...)
  if n == 0 then error("iotix.behaviour.compose: give it behaviours: functions of a device", 2) end
  for i = 1, n do
    if type(list[i]) ~= "function" then
      error("iotix.behaviour.compose: argument " .. i .. ": expected a function(dev), got a " .. type(list[i])
        .. (options.unseal(list[i], "a state machine") and "; a state machine has :behaviour()" or ""), 2)
    end
  end
  return function(dev)
    for i = 2, n do
      local task, why = native.spawn(list[i], dev)
      if not task then error("iotix.behaviour.compose: behaviour " .. i .. ": " .. why, 0) end
    end
    return list[1](dev)
  end
end

return M
