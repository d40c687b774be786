-- A running state machine of one device (lua/iotix/fsm.lua has the definition).
--
-- Events queue, and one task of the device works them off, each to its end: that task is there only while there is something to
-- do, so a machine that waits costs no task, and one that waits for a time a sleeping one. What an action may do is what any
-- task may: when it blocks, events queue behind it.
local native = require "iotix._core.native"
local command = require "iotix._core.command"

local M = {}

local QUEUE_MAX = 1000
local WAITERS_MAX = 1000

local Machine = { __metatable = false }
Machine.__index = Machine
Machine.__tostring = function(m) return m._def.label .. " in state " .. tostring(m._leaf.path) end

local function own(m, what)
  local ok, why = native.acting(m._dev)
  if not ok then error(what .. ": " .. why, 3) end
end

local function over_text(m) return m._def.label .. " has ended: " .. m._over end

-- --- waiting -----------------------------------------------------------------------------------------------------------------

local function is_active(m, node)
  local at = m._leaf
  while at and at ~= node do at = at.parent end
  return at == node
end

-- Wakes those that wait for a state which is active now, or for the end.
local function notify(m)
  for i = #m._waiters, 1, -1 do
    local w = m._waiters[i]
    if m._over or (w.node and is_active(m, w.node)) then
      w.hit = w.node == nil or is_active(m, w.node)
      table.remove(m._waiters, i)
      native.unpark(w.parker)
    end
  end
end

local function answer(e)
  e.done = true
  if e.parker then native.unpark(e.parker) end
end

local function disarm(m, node)
  local timers = m._timers[node]
  m._timers[node] = nil
  for i = 1, timers and #timers or 0 do
    timers[i].live = false
    timers[i].task:cancel()
  end
end

-- The end, however it came: nothing happens any more, and who waits is told.
local function finish(m, why)
  m._over = why
  for node in pairs(m._timers) do disarm(m, node) end
  for i = m._first, m._last do
    answer(m._queue[i])
    m._queue[i] = nil
  end
  m._first, m._last = 1, 0
  if m._event then answer(m._event) end
  notify(m)
end

-- --- transitions -------------------------------------------------------------------------------------------------------------

-- Calls a function of the author. What it raises ends the machine, and the task, with a text that says where the machine was.
local function act(m, node, what, fn, e)
  local ok, a, b, c, d = xpcall(fn, native.traceback, m._dev, m.context, e.view, m)
  if ok then return a, b, c, d end
  local place = m._def.label .. (node.path and ": state \"" .. node.path .. "\"" or "") .. ", event \"" .. e.name .. "\", " .. what
  finish(m, place .. " failed")
  if type(a) == "string" then a = place .. ": " .. a end
  error(a, 0)
end

local push

local function run_timer(m, timer)
  native.sleep(timer.delay)
  if timer.live then push(m, { name = timer.after.label, timer = timer, view = { name = timer.after.label } }) end
end

local function arm(m, node)
  local timers = {}
  for i, after in ipairs(node.after) do
    local delay = after.min
    if after.max > after.min then delay = math.floor(after.min + (after.max - after.min) * math.random() + 0.5) end
    local timer = { live = true, delay = delay / 1e6, after = after, node = node }
    local task, why = native.spawn(run_timer, m, timer)
    if not task then error(m._def.label .. ": state \"" .. tostring(node.path) .. "\": " .. after.label .. ": " .. why, 0) end
    timer.task = task
    timers[i] = timer
  end
  if #timers > 0 then m._timers[node] = timers end
end

-- Enters one state; false when the machine was stopped on the way.
local function enter(m, node, e)
  m._leaf = node
  arm(m, node)
  if node.entry then act(m, node, "entry", node.entry, e) end
  return not m._over
end

-- Down from a state that was just entered to one without children.
local function descend(m, node, e)
  while node.children do
    local to = node.history and m._history[node] or node.initial
    local path = {}
    while to ~= node do
      table.insert(path, 1, to)
      to = to.parent
    end
    for i = 1, #path do
      if not enter(m, path[i], e) then return end
    end
    node = path[#path]
  end
  notify(m)
  if not node.final then return end
  if not node.parent.parent then return finish(m, "it reached its final state " .. node.path) end
  local done = "done:" .. node.parent.path
  if m._def.events[done] then table.insert(m._internal, { name = done, view = { name = done } }) end
end

-- Leaves the active states below `domain`, the innermost first.
local function leave(m, domain, e)
  local leaf, node = m._leaf, m._leaf
  while node ~= domain do
    m._leaf = node
    disarm(m, node)
    if node.exit then
      act(m, node, "exit", node.exit, e)
      if m._over then return false end
    end
    local parent = node.parent
    if parent.history == "deep" then m._history[parent] = leaf end
    if parent.history == "shallow" then m._history[parent] = node end
    node = parent
  end
  return true
end

local function path_between(domain, target)
  local path, node = {}, target
  while node ~= domain do
    table.insert(path, 1, node)
    node = node.parent
  end
  return path
end

-- Takes a transition. What its action returned is the result of the event.
local function take(m, node, transition, e)
  e.handled = true
  local target = transition.target
  if target and not leave(m, transition.domain, e) then return end
  if target then m._leaf = transition.domain.parent and transition.domain or m._leaf end
  if transition.action then
    e.result, e.why, e.code, e.parameter = act(m, node, "action", transition.action, e)
    if m._over then return end
  end
  if not target then return end
  for _, step in ipairs(path_between(transition.domain, target)) do
    if not enter(m, step, e) then return end
  end
  descend(m, target, e)
end

-- The first transition of the list whose guard agrees.
local function choose(m, node, list, e)
  for i = 1, list and #list or 0 do
    local transition = list[i]
    if not transition.guard or act(m, node, "guard", transition.guard, e) then return transition end
    if m._over then return end
  end
end

local function handle(m, e)
  if e.start then
    m._leaf = m._def.root
    if enter(m, m._def.root, e) then descend(m, m._def.root, e) end
    return
  end
  if e.timer then
    local timer = e.timer
    local transition = timer.live and choose(m, timer.node, timer.after.transitions, e)
    if transition then take(m, timer.node, transition, e) end
    return
  end
  local node = m._leaf
  while node and not m._over do
    local transition = choose(m, node, node.on[e.name], e)
    if transition then return take(m, node, transition, e) end
    node = node.parent
  end
end

local function work(m)
  m._worker = native.task()
  while not m._over do
    local e = table.remove(m._internal, 1)
    if not e then
      if m._first > m._last then break end
      e = m._queue[m._first]
      m._queue[m._first] = nil
      m._first = m._first + 1
    end
    m._event = e
    handle(m, e)
    m._event = nil
    answer(e)
  end
  m._worker, m._task = nil, nil
end

-- true | nil, message, code
function push(m, e)
  if m._over then return nil, over_text(m), "closed" end
  if m._last - m._first + 1 >= QUEUE_MAX then
    return nil, m._def.label .. ": " .. QUEUE_MAX .. " events wait already", "limit"
  end
  m._last = m._last + 1
  m._queue[m._last] = e
  if m._task then return true end
  local task, why, code = native.spawn(work, m)
  if not task then
    m._queue[m._last] = nil
    m._last = m._last - 1
    return nil, why, code
  end
  m._task = task
  return true
end

-- --- what authors call -------------------------------------------------------------------------------------------------------

local function node_of(m, what, state)
  local node = m._def.nodes[state]
  if node then return node end
  local near = type(state) == "string" and native.suggest(state, m._def.paths)
  error(what .. ": " .. m._def.label .. " has no state " .. (type(state) == "string" and string.format("%q", state) or tostring(state))
    .. "; it has: " .. table.concat(m._def.paths, ", ") .. (near and ('; did you mean "' .. near .. '"?') or ""), 3)
end

function M.start(def, dev, context)
  local ok, why = native.acting(dev)
  if not ok then error("fsm:start: " .. why, 3) end
  local m = setmetatable({ _def = def, _dev = dev, _queue = {}, _first = 1, _last = 0, _internal = {}, _timers = {}, _waiters = {},
    _history = {}, _leaf = def.first, context = context or def.copy_context() }, Machine)
  local started, problem = push(m, { name = "start", start = true, view = { name = "start" } })
  if not started then error("fsm:start: " .. problem, 3) end
  return m
end

--- Queues an event. → true | nil, message, code
function Machine:send(event, data)
  own(self, "machine:send")
  local def = self._def
  if not def.events[event] then
    local near = type(event) == "string" and native.suggest(event, def.event_names)
    error("machine:send: " .. def.label .. " has no event " .. (type(event) == "string" and string.format("%q", event) or tostring(event))
      .. "; it has: " .. table.concat(def.event_names, ", ") .. (near and ('; did you mean "' .. near .. '"?') or ""), 2)
  end
  return push(self, { name = event, view = { name = event, data = data } })
end

--- The path of the innermost active state.
function Machine:state() return self._leaf.path end

--- Whether that state, or one inside it, is active.
function Machine:is(state) return is_active(self, node_of(self, "machine:is", state)) end

--- Whether one of these states is active.
function Machine:matches(...)
  local found = false
  for i = 1, select("#", ...) do
    found = is_active(self, node_of(self, "machine:matches", (select(i, ...)))) or found
  end
  return found
end

--- Whether it has ended.
function Machine:ended() return self._over ~= nil, self._over end

--- Blocks until the state is active; without a state until the machine has ended. → true | nil, message, code
function Machine:wait(state, timeout)
  own(self, "machine:wait")
  local node = state ~= nil and node_of(self, "machine:wait", state) or nil
  local us, why
  if timeout ~= nil then
    us, why = native.duration(timeout, true)
    if not us then error("machine:wait: timeout: " .. why, 2) end
  end
  if node and is_active(self, node) and not (self._over and not node.final) or not node and self._over then return true end
  if self._over then return nil, over_text(self), "closed" end
  if self._worker and self._worker == native.task() then
    error("machine:wait: an action of the machine itself would wait for ever", 2)
  end
  if #self._waiters >= WAITERS_MAX then return nil, self._def.label .. ": too many wait already", "limit" end
  local w = { node = node, parker = native.parker() }
  table.insert(self._waiters, w)
  local ok, message, code = native.park(w.parker, "machine:wait", us)
  if ok and w.hit then return true end
  if ok then return nil, over_text(self), "closed" end
  for i = #self._waiters, 1, -1 do
    if self._waiters[i] == w then table.remove(self._waiters, i) end
  end
  return nil, message, code
end

--- Ends the machine without exit actions. An action that is under way in another task is dropped.
function Machine:stop()
  own(self, "machine:stop")
  if self._over then return false end
  local task = self._worker ~= native.task() and self._task or nil
  finish(self, "it was stopped")
  if task then task:cancel() end
  return true
end

-- A command: queued as an event, its answer is what the transition's action returned.
local function carry_out(m, cmd)
  local def, name = m._def, "command:" .. cmd.name
  if not def.events[name] then
    local near = native.suggest(cmd.name, def.commands)
    return nil, string.format("unknown command %q; valid: %s", cmd.name, table.concat(def.commands, ", "))
      .. (near and ('; did you mean "' .. near .. '"?') or ""), "unknown"
  end
  local e = { name = name, view = { name = name, data = cmd }, parker = native.parker() }
  local ok, why = push(m, e)
  if not ok then return nil, why, "state" end
  if not e.done then native.park(e.parker, "machine:bind") end
  if not e.handled then
    if m._over then return nil, over_text(m), "state" end
    return nil, string.format("command %q is not taken in state %q", cmd.name, tostring(m._leaf.path)), "state"
  end
  if e.result ~= nil or e.why ~= nil then return e.result, e.why, e.code, e.parameter end
  return command.reply(cmd, { state = m._leaf.path })
end

--- Wires commands, connects and disconnects of the device to the events of those names, where the machine has them.
-- → true | nil, message, code
function Machine:bind(dev)
  own(self, "machine:bind")
  if dev ~= nil and not native.acting(dev) then error("machine:bind: expected the device that the machine was started for", 2) end
  if self._bound then error("machine:bind: the machine is bound already", 2) end
  self._bound = true
  for _, event in ipairs { "connect", "disconnect" } do
    if self._def.events[event] then
      self._dev:on(event, function() push(self, { name = event, view = { name = event } }) end)
    end
  end
  if #self._def.commands == 0 then return true end
  return self._dev:on("command", function(cmd) return carry_out(self, cmd) end)
end

M.Machine = Machine

return M
