-- Expectations of a test. A failed one is recorded with what came closest and ends the function that expected it (exit code 110).
local checks = require "iotix._core.checks"
local match = require "iotix._core.match"
local native = require "iotix._core.native"
local observer = require "iotix._core.observer"
local options = require "iotix._core.options"
require "iotix._core.message"

local M = {}

local record, show = checks.record, match.show

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

function methods.one_of(self, list)
  if type(list) ~= "table" then error("iotix.expect(…).one_of: expected a list, got a " .. type(list), 2) end
  local ok, words = match.try(match.tests { one_of = list }, self.actual)
  return record((self.label or "value") .. " is one of a list", ok, ok and "is " .. show(self.actual) or words)
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

--- iotix.expect(value, label?): .at_least(n) .at_most(n) .above(n) .below(n) .between(a, b) .equals(v) .one_of(list)
--- .truthy() .matches(p).
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

local function spec(more)
  local t = { within = { "duration", default = 5000000 }, label = { "string" } }
  for key, rule in pairs(more) do t[key] = rule end
  return t
end

local observed = {
  topic = { "string", required = true }, where = { match.where }, trigger = { "function" }, qos = { "qos", default = 1 },
  broker = { "string" },
}

local function with(base, more)
  local t = {}
  for key, rule in pairs(base) do t[key] = rule end
  for key, rule in pairs(more) do t[key] = rule end
  return spec(t)
end

local function seconds(us) return string.format("%g s", us / 1e6) end

-- Subscribes, calls `trigger`, and hands every message to take(message) until it returns true or the window is over. Returns the
-- time it took, whether it was ended by take; nil, problem when the observer failed.
local function observe(topics, o, take)
  local ok, problem = observer.connect(o.broker)
  if not ok then return nil, "the observer could not connect: " .. problem end
  local subscriptions = {}
  for i, topic in ipairs(topics) do
    local subscription, why = native.observe(topic, o.qos, o.broker, subscriptions[1])
    if not subscription then
      for _, former in ipairs(subscriptions) do checks.closed(former) end
      return nil, "the observer could not subscribe: " .. why
    end
    checks.opened(subscription)
    subscriptions[i] = subscription
  end
  local started = native.elapsed()
  if o.trigger then o.trigger() end
  local ended, lost = false, nil
  local deadline = native.elapsed() + o.within / 1e6
  while not ended do
    local left = deadline - native.elapsed()
    if left <= 0 then break end
    local m, why, code = native.observe_next(subscriptions[1], left)
    if m then
      ended = take(m) and true or false
    elseif code ~= "timeout" then
      lost = why
      break
    end
  end
  for i = #subscriptions, 1, -1 do checks.closed(subscriptions[i]) end
  if lost then return nil, lost end
  return native.elapsed() - started, ended
end

local message_spec = with(observed, { count = { "count", default = 1 } })

-- Where the nearest misses of one expectation stand: seen messages that did not match.
local function collect(o, where, level)
  local fits = match.compile(where, o.where, level + 1)
  local misses = match.misses()
  return function(m)
    local ok, why, far = fits(m)
    if not ok then match.miss(misses, match.message(m), why, far or 0) end
    return ok
  end, misses
end

local function others(misses)
  if misses.n == 0 then return ", nothing on the topic" end
  return string.format(", %d other%s on the topic did not match%s", misses.n, misses.n == 1 and "" or "s", match.nearest(misses))
end

--- Waits for a message on the broker, through an observer that is no part of the simulation. `trigger` is called once the
--- observer is subscribed, so that nothing can be missed. Returns the message (the list of them with count > 1).
function M.message(t)
  observer.needs_test("iotix.expect.message")
  local o = options.check(t, message_spec, "iotix.expect.message", 2)
  local fits, misses = collect(o, "iotix.expect.message", 2)
  local name = o.label or ("message on " .. o.topic .. (o.count > 1 and " × " .. o.count or "") .. " within " .. seconds(o.within))
  local found = {}
  local took, problem = observe({ o.topic }, o, function(m)
    if fits(m) then found[#found + 1] = m end
    return #found >= o.count
  end)
  if not took then return record(name, false, problem) end
  if #found >= o.count then
    record(name, true, string.format("after %.0f ms", took * 1000))
    return o.count == 1 and found[1] or found
  end
  record(name, false, (o.count > 1 and (#found .. " of " .. o.count .. " came") or "none came") .. others(misses))
end

--- No message that matches, for the whole window.
function M.no_message(t)
  observer.needs_test("iotix.expect.no_message")
  local o = options.check(t, spec(observed), "iotix.expect.no_message", 2)
  local fits = collect(o, "iotix.expect.no_message", 2)
  local seen, found = 0, nil
  local took, problem = observe({ o.topic }, o, function(m)
    seen = seen + 1
    if fits(m) then found = m end
    return found
  end)
  local name = o.label or "no message on " .. o.topic .. " within " .. seconds(o.within)
  if not took then return record(name, false, problem) end
  if found then return record(name, false, string.format("one came after %.0f ms: %s", took * 1000, match.message(found))) end
  return record(name, true, seen > 0 and seen .. " others came" or "none came")
end

-- --- how many

local bounds = { at_least = { options.whole(0, 1e9) }, at_most = { options.whole(0, 1e9) }, equals = { options.whole(0, 1e9) } }

-- The words of at_least, at_most, equals, and: holds(n), whether more of it can no longer do any good, whether it is enough.
local function bounded(where, o, level)
  if not (o.at_least or o.at_most or o.equals) then
    error(where .. ": say how many: at_least, at_most or equals", level + 1)
  end
  if o.equals and (o.at_least or o.at_most) then error(where .. ": give equals, or at_least and at_most", level + 1) end
  local low, high = o.equals or o.at_least or 0, o.equals or o.at_most or math.huge
  if low > high then error(where .. ": at_least is above at_most", level + 1) end
  local words = o.equals and tostring(o.equals) or low > 0 and high < math.huge and low .. " to " .. high
    or low > 0 and "at least " .. low or "at most " .. high
  return words, low, high
end

--- Counts messages that match over the window: at_least alone is met as soon as so many have come.
function M.count(t)
  observer.needs_test("iotix.expect.count")
  local o = options.check(t, with(observed, bounds), "iotix.expect.count", 2)
  local words, low, high = bounded("iotix.expect.count", o, 2)
  local fits, misses = collect(o, "iotix.expect.count", 2)
  local n = 0
  local took, problem = observe({ o.topic }, o, function(m)
    if fits(m) then n = n + 1 end
    return n > high or (high == math.huge and n >= low)
  end)
  local name = o.label or words .. " messages on " .. o.topic .. " within " .. seconds(o.within)
  if not took then return record(name, false, problem) end
  local ok = n >= low and n <= high
  record(name, ok, string.format("%d came in %.3g s%s", n, took, ok and "" or n < low and others(misses) or ""))
  return n
end

-- --- values

local value_spec = with(observed, match.conditions)
value_spec.path = { "string", required = true }
value_spec.at_least = { options.whole(1, 1e9), default = 1 }

--- Every message of the window that matches `where` has a member `path` in range; `at_least` so many come.
function M.value(t)
  observer.needs_test("iotix.expect.value")
  local o = options.check(t, value_spec, "iotix.expect.value", 2)
  local tests = match.tests(o)
  if not tests then error("iotix.expect.value: say what it is to be: min, max, above, below, equals, one_of, matches …", 2) end
  local fits = collect(o, "iotix.expect.value", 2)
  local seen, low, high, wrong, misses = 0, math.huge, -math.huge, 0, match.misses()
  local took, problem = observe({ o.topic }, o, function(m)
    if not fits(m) then return end
    local v = match.member(m.json, o.path)
    local ok, why, far = match.try(tests, v)
    seen = seen + 1
    if type(v) == "number" then low, high = math.min(low, v), math.max(high, v) end
    if not ok then
      wrong = wrong + 1
      match.miss(misses, match.message(m), o.path .. " " .. why, -far) -- what is furthest off says most
    end
  end)
  local name = o.label or o.path .. " on " .. o.topic .. " in range for " .. seconds(o.within)
  if not took then return record(name, false, problem) end
  local range = low <= high and string.format(", %s to %s", show(low), show(high)) or ""
  if wrong > 0 then
    return record(name, false, string.format("%d of %d out of it%s", wrong, seen, (match.nearest(misses):gsub("nearest", "furthest"))))
  end
  return record(name, seen >= o.at_least, seen .. " values" .. range .. (seen < o.at_least and ", expected " .. o.at_least or ""))
end

-- --- order

local function topics_of(v)
  if type(v) ~= "table" or #v < 2 then return nil, "a list of two topic filters or more" end
  for i = 1, #v do
    if type(v[i]) ~= "string" or v[i] == "" then return nil, "a list of topic filters" end
  end
  return v
end

local order_spec = with(observed, {
  topics = { topics_of, required = true }, key = { "function" }, devices = { "count", default = 1 },
})
order_spec.topic, order_spec.where = nil, nil

-- Whose message it is: the level of the topic that the first + of the filter stands for.
local function key_of(filter, topic)
  local at = 0
  for level in (filter .. "/"):gmatch("([^/]*)/") do
    at = at + 1
    if level == "+" then
      local n = 0
      for found in (topic .. "/"):gmatch("([^/]*)/") do
        n = n + 1
        if n == at then return found end
      end
    end
  end
  return ""
end

--- Messages of one device come in the order of the topics: none of topics[n + 1] before one of topics[n]. Met when so many
--- `devices` have said something on the last of them; one that comes too early fails it.
function M.order(t)
  observer.needs_test("iotix.expect.order")
  local o = options.check(t, order_spec, "iotix.expect.order", 2)
  local reached, done, early, halfway = {}, 0, nil, {}
  local function take(m)
    for i, filter in ipairs(o.topics) do
      if native.topic_matches(filter, m.topic) then
        local key = tostring(o.key and o.key(m) or key_of(filter, m.topic))
        local was = reached[key] or 0
        if i > was + 1 then
          early = string.format("%s before anything on %s%s", match.message(m), o.topics[was + 1], key ~= "" and " of " .. key or "")
          return true
        end
        if i == was + 1 then
          reached[key], halfway[key] = i, i < #o.topics and o.topics[i] or nil
          if i == #o.topics then done = done + 1 end
        end
        return done >= o.devices
      end
    end
  end
  local took, problem = observe(o.topics, o, take)
  local name = o.label or table.concat(o.topics, " before ") .. " within " .. seconds(o.within)
  if not took then return record(name, false, problem) end
  if early then return record(name, false, early) end
  if done >= o.devices then return record(name, true, string.format("%d after %.0f ms", done, took * 1000)) end
  local left = {}
  for _, key in ipairs(options.sorted_keys(halfway)) do
    if #left < 3 then left[#left + 1] = (key ~= "" and key .. " " or "") .. "got to " .. halfway[key] end
  end
  return record(name, false, string.format("%d of %d came to the end%s", done, o.devices,
    #left > 0 and "; nearest: " .. table.concat(left, " | ") or next(reached) == nil and ", nothing on " .. o.topics[1] or ""))
end

-- --- conditions over a window

local window_spec = spec { every = { "duration", default = 100000 }, [1] = { "function", required = true } }

local function window(t, where)
  observer.needs_test(where)
  local o = options.check(t, window_spec, where, 3)
  if o.every < 1000 then error(where .. ": every: at least 1ms", 3) end
  return o
end

-- Asks again and again until `stop` (true or false) is the answer or the window is over: answer, latest texts, time, tries.
local function ask(o, stop)
  local started, said, tries = native.elapsed(), {}, 0
  local deadline = started + o.within / 1e6
  while true do
    local answer, text = o[1]()
    answer, tries = not not answer, tries + 1
    text = text ~= nil and show(text) or nil
    if text and said[#said] ~= text then
      said[#said + 1] = text
      if #said > 3 then table.remove(said, 1) end
    end
    if answer == stop then return true, said, native.elapsed() - started, tries end
    local left = deadline - native.elapsed()
    if left <= 0 then return false, said, native.elapsed() - started, tries end
    native.sleep(math.min(o.every / 1e6, left))
  end
end

local function so_far(said) return #said > 0 and "; it said: " .. table.concat(said, " | ") or "" end

--- The function returns true once within the window. What it returns beside is told when it does not.
function M.eventually(t)
  local o = window(t, "iotix.expect.eventually")
  local met, said, took, tries = ask(o, true)
  return record(o.label or "eventually, within " .. seconds(o.within), met, met and string.format("after %.0f ms", took * 1000)
    or string.format("never in %d tries%s", tries, so_far(said)))
end

--- It returns true for all of the window.
function M.always(t)
  local o = window(t, "iotix.expect.always")
  local broken, said, took, tries = ask(o, false)
  return record(o.label or "always, for " .. seconds(o.within), not broken, broken and string.format("not after %.0f ms%s",
    took * 1000, so_far(said)) or tries .. " times")
end

--- It does not return true within the window.
function M.never(t)
  local o = window(t, "iotix.expect.never")
  local met, said, took, tries = ask(o, true)
  return record(o.label or "never, for " .. seconds(o.within), not met, met and string.format("it was after %.0f ms%s",
    took * 1000, so_far(said)) or tries .. " times")
end

-- --- states of groups

local state_spec = spec {
  group = { "string", required = true }, state = { "string", default = "online" }, always = { "boolean", default = false },
  at_least = bounds.at_least, at_most = bounds.at_most, equals = bounds.equals,
}

-- The first word of the shards comes a moment after the test has begun.
local function status_groups()
  local deadline = native.elapsed() + 2
  local groups = native.status().groups or {}
  while next(groups) == nil and native.elapsed() < deadline do
    native.sleep(0.02)
    groups = native.status().groups or {}
  end
  return groups
end

--- So many devices of a group are in a state: once within the window, or with always = true for all of it.
function M.state(t)
  observer.needs_test("iotix.expect.state")
  local o = options.check(t, state_spec, "iotix.expect.state", 2)
  local words, low, high = bounded("iotix.expect.state", o, 2)
  local groups = status_groups()
  if not groups[o.group] then
    error("iotix.expect.state: no group \"" .. o.group .. "\"; valid: " .. table.concat(options.sorted_keys(groups), ", "), 2)
  end
  if type(groups[o.group][o.state]) ~= "number" then
    error("iotix.expect.state: unknown state \"" .. o.state .. "\"; valid: "
      .. table.concat(options.sorted_keys(groups[o.group]), ", "), 2)
  end
  local nearest, off
  local function holds()
    local n = native.status().groups[o.group][o.state]
    local d = n < low and low - n or n > high and n - high or 0
    if not off or (o.always and d > off or not o.always and d <= off) then nearest, off = n, d end
    return d == 0
  end
  local ended, _, took = ask({ holds, within = o.within, every = 50000 }, not o.always)
  local ok = ended ~= o.always
  local name = o.label or string.format("%s of %s %s %s %s", words, o.group, o.state, o.always and "for" or "within", seconds(o.within))
  return record(name, ok, ok and string.format("%d after %.0f ms", nearest, took * 1000)
    or string.format("%d%s", nearest, o.always and string.format(" after %.0f ms", took * 1000) or " came closest"))
end

-- --- several at the same time

local function functions_of(t, where)
  observer.needs_test(where)
  if type(t) ~= "table" or #t == 0 then error(where .. ": expected a list of functions, got " .. show(t), 3) end
  local list = {}
  for key, v in pairs(t) do
    if key ~= "label" and (type(key) ~= "number" or type(v) ~= "function") then
      error(where .. ": expected functions, such as function() iotix.expect.message { … } end; " .. tostring(key) .. " is "
        .. show(v), 3)
    end
  end
  if #t > 32 then error(where .. ": at most 32 functions, got " .. #t, 3) end
  for i = 1, #t do list[i] = t[i] end
  return list, t.label
end

--- Runs the functions at the same time: all their expectations have to be met.
function M.all(t)
  return checks.all(functions_of(t, "iotix.expect.all"))
end

--- Runs the functions at the same time until the expectations of one are met: its number. The others are cut off.
function M.any(t)
  return checks.any(functions_of(t, "iotix.expect.any"))
end

return setmetatable(M, { __call = function(_, actual, label) return expect(actual, label) end })
