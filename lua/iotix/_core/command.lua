-- A command that arrived for a device: decode, run the author's handler in this task, answer.
--
-- A command is JSON: { "command": NAME, "params": {…}, "id": any }. Without "params" the whole object is the parameters. The
-- handler's result goes to the device's `response` topic with the id of the command; a handler that raises answers
-- { "ok": false, "error": text }. nil as a result means: no answer.
local native = require "iotix._core.native"
require "iotix._core.message"

local M = {}

local function parse(message)
  local doc = message.json
  if type(doc) ~= "table" then
    return nil, "a command is a JSON object such as {\"command\":\"set\",\"params\":{…}}"
  end
  local name = doc.command or doc.name
  if name ~= nil and type(name) ~= "string" then return nil, "\"command\" must be a string" end
  return {
    name = name or "", params = type(doc.params) == "table" and doc.params or doc, id = doc.id,
    topic = message.topic, payload = message.payload, json = doc,
  }
end

local function answer(dev, command, result)
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
  local ok, message = dev:publish("response", text)
  if not ok then dev:log("warn", "the answer to a command was not sent: " .. tostring(message)) end
end

function M.run(dev, handler, message)
  local command, problem = parse(message)
  if not command then
    native.command_error()
    return answer(dev, nil, { ok = false, error = problem })
  end
  local ok, result = xpcall(handler, native.traceback, command)
  if not ok then
    native.command_error()
    dev:log("error", "command handler: " .. tostring(result))
    local text = tostring(result):gsub("\nstack traceback:.*", "")
    return answer(dev, command, { ok = false, error = text })
  end
  if result ~= nil then answer(dev, command, result) end
end

return M
