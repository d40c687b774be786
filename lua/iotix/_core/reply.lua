-- Handlers whose result is an answer: to a message that names a response topic (MQTT 5), to a request that a device serves. Each runs
-- in a task of its own; C spawns it (runtime/script/behaviour.c, serve_bind.c).
local native = require "iotix._core.native"
local json = require "iotix.json"
local options = require "iotix._core.options"

local M = {}

--- fn(message); a result is published to the message's response topic with its correlation.
function M.message(port, fn, message)
  local result = fn(message)
  if result == nil then return end
  local ok, why = port:publish("/" .. message.response_topic, result, { correlation = message.correlation, qos = message.qos })
  if not ok then native.log("warn", "the answer to " .. message.topic .. " was not sent: " .. tostring(why)) end
end

local function any(v) return v end
local response_spec = { status = { any }, body = { any }, headers = { any } }
local function is_response(t) return rawget(t, "status") ~= nil or rawget(t, "body") ~= nil or rawget(t, "headers") ~= nil end

local function first_line(text) return (tostring(text):gsub("\n.*", "")) end

-- Beside status, body and headers there is nothing: a key that would be lost is an error. So is a table meant as JSON that happens to
-- have one of these.
local function check_response(t)
  options.check(t, response_spec, "the answer", function(text)
    error(text .. " (a table with other keys that is to be the answer's JSON goes into body: { body = {…} })", 0)
  end)
end

-- status, body, headers, content type of what a handler returned: nothing, text, a table as JSON, or { status =, body =, headers = }
local function response_of(result, why)
  if result == nil and type(why) == "string" then return 400, { error = why }, nil, "application/json" end
  if type(result) ~= "table" then return nil, result, nil, nil end
  local body, headers, status = result, nil, nil
  if is_response(result) then body, headers, status = result.body, result.headers, result.status end
  return status, body, headers, type(body) == "table" and "application/json" or nil
end

local function has_type(headers)
  for name in pairs(type(headers) == "table" and headers or {}) do
    if type(name) == "string" and (name:lower() == "content-type" or name:lower() == "content-format") then return true end
  end
  return false
end

--- fn(request) → what is answered. An error is the status 500, and in the log; nil and a text is 400.
function M.serve(port, fn, request, ticket)
  local ok, result, why = xpcall(fn, native.traceback, request)
  local status, body, headers, kind
  if ok and type(result) == "table" and is_response(result) then
    local fine, problem = pcall(check_response, result)
    if not fine then ok, result = false, problem end
  end
  if ok then
    status, body, headers, kind = response_of(result, why)
  else
    native.log("error", "handler of " .. request.path .. ": " .. tostring(result))
    native.serve_error()
    status, body, kind = 500, { error = first_line(result) }, "application/json"
  end
  if kind and has_type(headers) then kind = nil end
  local sent, problem, text, code = pcall(native.respond, port, ticket, request.method, status, body, headers, kind)
  if not sent then -- a response that cannot be said: its author's mistake
    native.log("error", "handler of " .. request.path .. ": " .. first_line(problem))
    native.serve_error()
    native.respond(port, ticket, request.method, 500, "the handler's answer is wrong", nil, nil)
  elseif not problem and code ~= "not_found" then
    native.log("warn", "the answer to " .. request.method .. " " .. request.path .. " was not sent: " .. tostring(text))
  end
end

--- The metatable of what requests return.
native.response_meta {
  __metatable = false,
  __index = {
    --- The body decoded: value | nil, message
    json = function(response)
      local value, why = json.decode(type(response) == "table" and rawget(response, "body") or "")
      if value == nil then return nil, why or "the body is not JSON" end
      return value
    end,
  },
}

return M
