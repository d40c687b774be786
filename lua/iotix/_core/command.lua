-- A command or an action that arrived for a device: run the author's handler in this task, answer.
--
-- Without a model's commands, dev:on("command") gets what comes on the device's `command` topic: JSON { "command": NAME,
-- "params": {…}, "id": any }; without "params" the whole object is the parameters. The handler's result goes to the device's
-- `response` topic with the id of the command; a handler that raises answers { "ok": false, "error": text }. nil as a result means: no
-- answer. The commands of a model come parsed and checked, and the device room answers them (runtime/device/command.h).
local native = require "iotix._core.native"
require "iotix._core.message"

local M = {}

--- → command | nil, what is wrong with it
local function parse(message)
  local doc = message.json
  if type(doc) ~= "table" then
    return nil, "a command is a JSON object such as {\"command\":\"set\",\"params\":{…}}"
  end
  local name = doc.command or doc.name
  if name ~= nil and type(name) ~= "string" then return nil, "\"command\" must be a string" end
  return {
    name = name or "", params = type(doc.params) == "table" and doc.params or doc, id = doc.id,
    topic = message.topic, payload = message.payload, json = doc, response_topic = message.response_topic,
    correlation = message.correlation,
  }
end

M.parse = parse

--- What a handler returns for the plain answer of a command: the device room puts a model's into one itself.
function M.reply(command, result)
  if rawget(command, "json") == nil then return result end
  return { ok = true, command = command.name, result = result }
end

local function answer(dev, command, result, topic)
  if type(result) ~= "table" or #result > 0 then result = { ok = true, result = result } end
  if command and command.id ~= nil and result.id == nil then
    local copy = {}
    for k, v in pairs(result) do copy[k] = v end
    copy.id = command.id
    result = copy
  end
  local text, problem = native.json(result)
  if not text then
    native.command_error()
    problem = "the result of the command handler: " .. problem
    dev:log("error", problem)
    text = native.json { ok = false, error = problem, id = command and command.id }
  end
  local to = command and command.response_topic -- of MQTT 5: where whoever asked wants it
  local ok, message = dev:publish(topic or to and "/" .. to or "response", text, to and { correlation = command.correlation } or nil)
  if not ok then dev:log("warn", "the answer to a command was not sent: " .. tostring(message)) end
end

-- Runs the handler. → true, what it returned | false, the error without its traceback, which has been logged
local function run(dev, what, handler, ...)
  local ok, result, why, code, parameter = xpcall(handler, native.traceback, ...)
  if ok then return true, result, why, code, parameter end
  local text = (type(result) == "string" or type(result) == "number") and tostring(result) or "raised something that is not text"
  dev:log("error", what .. ": " .. text)
  return false, (text:gsub("\nstack traceback:.*", ""))
end

--- Of a device without a model's commands: the message is taken apart here. A handler may also return nil, text, code,
-- parameter: what was wrong with the command.
function M.run(dev, handler, message, topic)
  local command, problem = parse(message)
  if not command then
    native.command_error()
    local whose = { response_topic = message.response_topic, correlation = message.correlation }
    return answer(dev, whose, { ok = false, error = problem }, topic)
  end
  local ok, result, why, code, parameter = run(dev, "command handler", handler, command)
  if not ok then
    native.command_error()
    return answer(dev, command, { ok = false, error = result }, topic)
  end
  if not result and type(why) == "string" then
    native.command_error()
    return answer(dev, command, { ok = false, command = command.name, error = why, code = code, parameter = parameter }, topic)
  end
  if result ~= nil then answer(dev, command, result, topic) end
end

--- Of a model: number is what the device room knows the command by, 0 when another handler answers it.
function M.carry_out(dev, handler, command, number)
  local what = "handler of " .. command.name
  local ok, result, why = run(dev, what, handler, command, dev)
  if number == 0 then return end
  if not ok then return native.command_answer(number, result) end
  if not result and type(why) == "string" then return native.command_answer(number, why) end
  local problem = native.command_answer(number, nil, result)
  if problem then dev:log("error", what .. ": " .. problem) end
end

--- An action of a model's behaviour.
function M.act(dev, handler, params, what)
  if not run(dev, "action " .. tostring(what.name or what.behavior or ""), handler, dev, params, what) then native.hook_error() end
end

return M
