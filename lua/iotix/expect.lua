-- Expectations of a test. A failed one is recorded and ends the test function (exit code 110).
local native = require "iotix._core.native"
local observer = require "iotix._core.observer"
local options = require "iotix._core.options"
require "iotix._core.message"

local M = {}

local function show(v)
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) == "table" then return native.json(v) or "a table" end
  return tostring(v)
end

local function record(name, ok, detail)
  native.check(name, ok, detail)
  if not ok then error({ iotix_expect = true, message = name .. ": " .. detail }, 0) end
  return true
end

local methods = {}

local function needs_number(v, what)
  if type(v) ~= "number" then error("iotix.expect(…)." .. what .. ": expected a number to compare with", 3) end
end

local function comparison(name, words, holds)
  methods[name] = function(self, limit)
    needs_number(limit, name)
    local actual = self.actual
    local ok = type(actual) == "number" and holds(actual, limit)
    return record((self.label or "value") .. " " .. words .. " " .. show(limit), ok, "is " .. show(actual))
  end
end

comparison("at_least", "at least", function(a, b) return a >= b end)
comparison("at_most", "at most", function(a, b) return a <= b end)
comparison("above", "above", function(a, b) return a > b end)
comparison("below", "below", function(a, b) return a < b end)

function methods.equals(self, value)
  return record((self.label or "value") .. " equals " .. show(value), self.actual == value, "is " .. show(self.actual))
end

function methods.between(self, low, high)
  needs_number(low, "between")
  needs_number(high, "between")
  local a = self.actual
  return record((self.label or "value") .. " between " .. show(low) .. " and " .. show(high),
    type(a) == "number" and a >= low and a <= high, "is " .. show(a))
end

function methods.truthy(self)
  return record((self.label or "value") .. " is true", not not self.actual, "is " .. show(self.actual))
end

function methods.matches(self, pattern)
  if type(pattern) ~= "string" then error("iotix.expect(…).matches: expected a Lua pattern, got a " .. type(pattern), 2) end
  local ok = type(self.actual) == "string" and self.actual:find(pattern) ~= nil
  return record((self.label or "value") .. " matches " .. show(pattern), ok, "is " .. show(self.actual))
end

--- iotix.expect(value, label?): .at_least(n) .at_most(n) .above(n) .below(n) .between(a, b) .equals(v) .truthy() .matches(p).
--- Both spellings work: iotix.expect(x).at_least(3) and iotix.expect(x):at_least(3).
local function expect(actual, label)
  observer.needs_test("iotix.expect")
  if label ~= nil and type(label) ~= "string" then error("iotix.expect: the label is a string, got a " .. type(label), 2) end
  local self = { actual = actual, label = label }
  local proxy
  local function index(_, name)
    local method = methods[name]
    if not method then
      error("iotix.expect: there is no \"" .. tostring(name) .. "\"; valid: " .. table.concat(options.sorted_keys(methods), ", "), 2)
    end
    return function(first, ...)
      if rawequal(first, proxy) then return method(self, ...) end
      return method(self, first, ...)
    end
  end
  proxy = setmetatable({}, { __metatable = false, __index = index })
  return proxy
end

local message_spec = {
  topic = { "string", required = true },
  within = { "duration", default = 5000000 },
  where = { "function" },
  trigger = { "function" },
  qos = { "qos", default = 1 },
  count = { "count", default = 1 },
  broker = { "string" },
  label = { "string" },
}

local function nearest(misses)
  if #misses == 0 then return "" end
  local texts = {}
  for i = math.max(1, #misses - 2), #misses do
    local m = misses[i]
    local payload = #m.payload > 80 and m.payload:sub(1, 80) .. "…" or m.payload
    texts[#texts + 1] = m.topic .. " " .. payload
  end
  return "; nearest: " .. table.concat(texts, " | ")
end

local function await(subscription, o)
  local started = native.elapsed()
  local deadline = started + o.within / 1e6
  local found, seen, misses = {}, 0, {}
  while #found < o.count do
    local left = deadline - native.elapsed()
    if left <= 0 then break end
    local m, problem, code = native.observe_next(subscription, left)
    if m then
      seen = seen + 1
      if not o.where or o.where(m) then
        found[#found + 1] = m
      else
        misses[#misses + 1] = m
        if #misses > 3 then table.remove(misses, 1) end
      end
    elseif code ~= "timeout" then
      return found, seen, misses, problem
    end
  end
  return found, seen, misses, nil, native.elapsed() - started
end

--- Waits for a message on the broker, through an observer that is no part of the simulation. `trigger` is called once the
--- observer is subscribed, so that nothing can be missed. Returns the message (the list of them with count > 1).
function M.message(t)
  observer.needs_test("iotix.expect.message")
  local o = options.check(t, message_spec, "iotix.expect.message", 2)
  local name = o.label or ("message on " .. o.topic .. (o.count > 1 and " × " .. o.count or "") .. " within "
    .. string.format("%g s", o.within / 1e6))
  local ok, problem = observer.connect(o.broker)
  if not ok then return record(name, false, "the observer could not connect: " .. problem) end
  local subscription, why = native.observe(o.topic, o.qos, o.broker)
  if not subscription then return record(name, false, "the observer could not subscribe: " .. why) end
  if o.trigger then o.trigger() end
  local found, seen, misses, lost, took = await(subscription, o)
  native.observe_close(subscription)
  if #found >= o.count then
    record(name, true, string.format("after %.0f ms", took * 1000))
    return o.count == 1 and found[1] or found
  end
  if lost then return record(name, false, lost) end
  local came = o.count > 1 and (#found .. " of " .. o.count .. " came") or "none came"
  local others = seen - #found
  record(name, false, came .. (others > 0 and string.format(", %d others on the topic did not match%s", others, nearest(misses))
    or ", nothing on the topic"))
end

return setmetatable(M, { __call = function(_, actual, label) return expect(actual, label) end })
