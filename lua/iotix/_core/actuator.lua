-- iotix.behaviour.actuator: commands with checked parameters that change a state, one after the other as a machine does them.
local command = require "iotix._core.command"
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local WAITING_MAX = 16 -- commands behind the one that is under way

local function fail(text) error(text, 0) end

local function is_of(kind, v)
  if kind == "integer" then return type(v) == "number" and v == math.floor(v) and math.abs(v) < 2 ^ 53 end
  if kind == "object" then return type(v) == "table" and #v == 0 end
  if kind == "array" then return type(v) == "table" and (#v > 0 or next(v) == nil) end
  return type(v) == kind and v == v
end

local param_spec = {
  type = { options.choice("number", "integer", "string", "boolean", "object", "array") }, required = { "boolean", default = false },
  min = { "number" }, max = { "number" }, values = { "table" }, default = { "any" },
}

local function check_param(v, where)
  local rule = options.check(v, param_spec, where, fail)
  local numeric = rule.type == "number" or rule.type == "integer"
  if (rule.min or rule.max) and not numeric then fail(where .. ": min and max are for numbers") end
  if rule.min and rule.max and rule.min > rule.max then fail(where .. ": min is more than max") end
  if rule.values and #rule.values == 0 then fail(where .. ": values: expected a list of what is allowed") end
  return rule
end

local command_spec = { params = { "table", default = {} }, run = { "function", required = true } }

--- A duration, or a range { "1s", "3s" } that is drawn from.
local function delay_of(v)
  local from, to = v, v
  if type(v) == "table" then from, to = v[1], v[2] end
  local min, max = native.duration(from, true), native.duration(to, true)
  if min and max and min <= max then return { min = min, max = max } end
  return nil, 'a duration such as "2s", or a range such as { "1s", "3s" }'
end

M.spec = {
  commands = { "table", required = true }, state = { "table", default = {} }, topic = { "string", default = "state" }, qos = { "qos" },
  retain = { "boolean" }, report = { options.choice("always", "change"), default = "change" }, delay = { delay_of },
}

--- What options.check does not see; replaces commands by what was checked.
function M.check(o, where)
  local commands = {}
  for _, name in ipairs(options.sorted_keys(o.commands)) do
    local at = where .. ": commands: " .. tostring(name)
    if type(name) ~= "string" or name == "" then fail(at .. ": a command is named by a text") end
    local c = options.check(o.commands[name], command_spec, at, fail)
    local params = {}
    for _, key in ipairs(options.sorted_keys(c.params)) do
      if type(key) ~= "string" then fail(at .. ": params: expected { name = { type = … } }, got the key " .. tostring(key)) end
      params[key] = check_param(c.params[key], at .. ": params: " .. key)
    end
    commands[name] = { params = params, names = options.sorted_keys(params), run = c.run }
  end
  if not next(commands) then fail(where .. ": commands: at least one is needed") end
  o.commands, o.names = commands, options.sorted_keys(commands)
  local text, why = native.json(o.state)
  if not text or #o.state > 0 then fail(where .. ": state: " .. (why or "expected names and values, got a list")) end
end

-- --- parameters --------------------------------------------------------------------------------------------------------------

local function near(word, names)
  local like = native.suggest(word, names)
  return like and '; did you mean "' .. like .. '"?' or ""
end

local function shown(v) return native.json(v) or "a " .. type(v) end

local function check_value(name, rule, v)
  if rule.type and not is_of(rule.type, v) then
    local article = rule.type:find("^[aio]") and "an " or "a "
    return nil, "parameter \"" .. name .. "\": expected " .. article .. rule.type .. ", got " .. shown(v), "type", name
  end
  if rule.min and v < rule.min then return nil, "parameter \"" .. name .. "\": at least " .. rule.min .. ", got " .. v, "range", name end
  if rule.max and v > rule.max then return nil, "parameter \"" .. name .. "\": at most " .. rule.max .. ", got " .. v, "range", name end
  if not rule.values then return true end
  local list = {}
  for i, allowed in ipairs(rule.values) do
    if v == allowed then return true end
    list[i] = tostring(allowed)
  end
  return nil, "parameter \"" .. name .. "\": one of " .. table.concat(list, ", ") .. ", got " .. shown(v), "range", name
end

-- Names of a command without "params", which are the command's and no parameter's.
local envelope = { command = true, name = true, id = true }

-- The checked parameters | nil, message, code, parameter
local function params_of(c, cmd)
  local given, out = cmd.params, {}
  local plain = given == rawget(cmd, "json")
  for _, name in ipairs(options.sorted_keys(given)) do
    if not c.params[name] and not (plain and envelope[name]) then
      name = tostring(name)
      return nil, "unknown parameter \"" .. name .. "\"; valid: " .. (#c.names > 0 and table.concat(c.names, ", ") or "none")
        .. near(name, c.names), "unknown", name
    end
  end
  for _, name in ipairs(c.names) do
    local rule, v = c.params[name], given[name]
    if v == nil or type(v) == "userdata" then -- null
      if rule.required then return nil, "parameter \"" .. name .. "\" is missing", "missing", name end
      out[name] = rule.default
    else
      local ok, why, code, parameter = check_value(name, rule, v)
      if not ok then return nil, why, code, parameter end
      out[name] = v
    end
  end
  return out
end

-- --- running -----------------------------------------------------------------------------------------------------------------

-- One command at a time, in the order they came. false: too many wait.
local function enter(line)
  if not line.busy then
    line.busy = true
    return true
  end
  if #line >= WAITING_MAX then return false end
  local parker = native.parker()
  line[#line + 1] = parker
  local woken = native.park(parker, "iotix.behaviour.actuator")
  return woken
end

local function leave(line)
  while #line > 0 do
    if native.unpark(table.remove(line, 1)) then return end
  end
  line.busy = false
end

local function copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for key, value in pairs(v) do out[key] = copy(value) end
  return out
end

local function report(self, force)
  local text, why = native.json(self.state)
  if not text then error("the state: " .. why, 0) end
  if not force and self.o.report == "change" and text == self.reported then return end
  if text == "[]" then text = "{}" end
  if self.dev:publish(self.o.topic, text, self.publish) then self.reported = text end
end

local function carry_out(self, cmd)
  local o = self.o
  local c = o.commands[cmd.name]
  if not c then
    return nil, "unknown command \"" .. cmd.name .. "\"; valid: " .. table.concat(o.names, ", ") .. near(cmd.name, o.names), "unknown"
  end
  local params, why, code, parameter = params_of(c, cmd)
  if not params then return nil, why, code, parameter end
  if not enter(self.line) then return nil, WAITING_MAX .. " commands wait already", "busy" end
  if o.delay then
    native.sleep((o.delay.min + (o.delay.max - o.delay.min) * math.random()) / 1e6)
  end
  local ok, result, problem = xpcall(c.run, native.traceback, self.dev, self.state, params)
  local told, trouble = true, nil
  if ok then told, trouble = pcall(report, self) end
  leave(self.line)
  if not ok or not told then
    local text = tostring(not ok and result or trouble)
    self.dev:log("error", "command " .. cmd.name .. ": " .. text)
    return nil, (text:gsub("\nstack traceback:.*", "")), "handler"
  end
  if not result and type(problem) == "string" then return nil, problem, "handler" end
  return command.reply(cmd, result)
end

--- The behaviour: returns when the device is online; its handlers keep it running.
function M.run(o, dev, connect)
  local self = { o = o, dev = dev, state = copy(o.state), line = {}, publish = (o.qos or o.retain) and { qos = o.qos, retain = o.retain } }
  dev:on("connect", function() report(self, true) end)
  local ok, why = dev:on("command", function(cmd) return carry_out(self, cmd) end)
  if not ok then error("iotix.behaviour.actuator: " .. tostring(why), 0) end
  connect(dev)
end

return M
