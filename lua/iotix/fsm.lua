-- iotix.fsm{ … }: state machines with guards, actions, timed transitions and states inside states. The definition is checked as a
-- whole when it is made; `fsm:start(dev)` gives a device a machine of its own (lua/iotix/_core/machine.lua).
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local machine = require "iotix._core.machine"

local M = {}

local STATES_MAX, DEPTH_MAX = 500, 16

local Definition = {}
Definition.__index = Definition

local function fail(text) error(text, 0) end

local function show(v) return type(v) == "string" and string.format("%q", v) or "a " .. type(v) end

local function near(word, names)
  local like = type(word) == "string" and native.suggest(word, names)
  return like and '; did you mean "' .. like .. '"?' or ""
end

-- --- reading the definition --------------------------------------------------------------------------------------------------

local transition_spec = { target = { "string" }, guard = { "function" }, action = { "function" } }

-- One transition, or a list of them: "state", a function (an action that stays in the state), { target, guard, action }.
local function transitions_of(v, where, inside)
  if type(v) == "string" and v ~= "" then return { { target = v } } end
  if type(v) == "function" then return { { action = v } } end
  if type(v) ~= "table" then
    fail(where .. ": expected a state such as \"idle\", a function, { target =, guard =, action = } or a list of these, got " .. show(v))
  end
  if #v == 0 then
    local t = options.check(v, transition_spec, where, fail)
    if not t.target and not t.action then fail(where .. ": give it a target, an action, or both") end
    return { t }
  end
  if inside then fail(where .. ": a list inside a list") end
  local list = {}
  for key in pairs(v) do
    if type(key) ~= "number" or key < 1 or key > #v or key ~= math.floor(key) then
      fail(where .. ": a list of transitions has no key " .. show(key))
    end
  end
  for i = 1, #v do list[i] = transitions_of(v[i], where .. "[" .. i .. "]", true)[1] end
  return list
end

local function event_name(name, where)
  if type(name) ~= "string" or name == "" or #name > 128 then
    fail(where .. ": an event is named by a text of 1 to 128 bytes, got " .. show(name))
  end
end

-- "30s", "10s..20s" or { "10s", "20s" } → microseconds
local function delay_of(key, where)
  local from, to = key, nil
  if type(key) == "string" then
    local a, b = key:match("^%s*(.-)%s*%.%.%s*(.-)%s*$")
    if a then from, to = a, b end
  elseif type(key) == "table" and #key == 2 then
    from, to = key[1], key[2]
  else
    from = nil
  end
  to = to or from
  local min, why = native.duration(from, false)
  local max, why_max = native.duration(to, false)
  if type(from) ~= "string" or type(to) ~= "string" or not min or not max then
    fail(where .. ': expected a duration with a unit such as "30s", or a range such as "10s..20s" or { "10s", "20s" }, got ' .. show(key)
      .. ((type(key) == "string" and (why or why_max)) and " (" .. (why or why_max) .. ")" or ""))
  end
  if min > max then fail(where .. ": the range begins with the smaller one: " .. from .. ".." .. to) end
  return min, max, "after:" .. from .. (max > min and ".." .. to or "")
end

local function after_of(t, where)
  local list = {}
  for key, value in pairs(t or {}) do
    local min, max, label = delay_of(key, where .. ": after")
    list[#list + 1] = { min = min, max = max, label = label, transitions = transitions_of(value, where .. ": " .. label) }
  end
  -- by time, so that random delays are drawn in the same order everywhere
  table.sort(list, function(a, b) return a.min < b.min or (a.min == b.min and a.max < b.max) end)
  for i = 2, #list do
    if list[i].min == list[i - 1].min and list[i].max == list[i - 1].max then
      fail(where .. ": " .. list[i].label .. ": the same time twice; give one a list of transitions")
    end
  end
  return list
end

local state_spec = {
  entry = { "function" }, exit = { "function" }, on = { "table", default = {} }, after = { "table", default = {} },
  states = { "table" }, initial = { "string" }, history = { options.choice("shallow", "deep") }, final = { "boolean", default = false },
}
local root_spec = {
  name = { "name" }, context = { "table", default = {} }, initial = { "string" }, states = { "table", required = true },
  entry = { "function" }, exit = { "function" }, on = { "table", default = {} }, after = { "table", default = {} },
}

local read_children

-- Fills a node from options that were checked.
local function read_node(def, node, o, where)
  node.entry, node.exit, node.history, node.final = o.entry, o.exit, o.history, o.final or false
  node.on = {}
  for _, event in ipairs(options.sorted_keys(o.on)) do
    event_name(event, where .. ": on")
    node.on[event] = transitions_of(o.on[event], where .. ": on[" .. show(event) .. "]")
    def.events[event] = true
  end
  node.after = after_of(o.after, where)
  if node.final and (next(o.on) or next(o.after) or o.states or o.exit) then
    fail(where .. ": a final state has no on, after, exit or states: nothing happens in it any more")
  end
  if o.states then return read_children(def, node, o, where) end
  for _, key in ipairs { "initial", "history" } do
    if o[key] then fail(where .. ": " .. key .. " is for a state with states inside it") end
  end
end

function read_children(def, node, o, where)
  local names = options.sorted_keys(o.states)
  if #names == 0 then fail(where .. ": states: at least one is needed") end
  if node.depth >= DEPTH_MAX then fail(where .. ": states nest more than " .. DEPTH_MAX .. " deep") end
  node.children, node.order = {}, names
  for _, name in ipairs(names) do
    if type(name) ~= "string" or #name > 64 or not name:find("^[%a_][%w_-]*$") then
      fail(where .. ": states: a state is named by letters, digits, - and _ (at most 64), got " .. show(name))
    end
    local path = (node.path and node.path .. "." or "") .. name
    local child = { name = name, path = path, parent = node, depth = node.depth + 1 }
    node.children[name] = child
    def.nodes[path] = child
    def.paths[#def.paths + 1] = path
    if #def.paths > STATES_MAX then fail(where .. ": more than " .. STATES_MAX .. " states") end
    local child_where = def.where .. ": state \"" .. path .. "\""
    read_node(def, child, options.check(o.states[name], state_spec, child_where, fail), child_where)
  end
  if not o.initial then fail(where .. ": initial is missing: the state it begins in, one of " .. table.concat(names, ", ")) end
  node.initial = node.children[o.initial]
  if not node.initial then
    fail(where .. ": initial: there is no state " .. show(o.initial) .. " in it; it has: " .. table.concat(names, ", ")
      .. near(o.initial, names))
  end
end

-- --- targets -----------------------------------------------------------------------------------------------------------------

-- A name is looked for beside the state, then beside its parent and so on, then inside it; a dotted path is from the top.
local function resolve(def, node, target)
  if target:find(".", 1, true) then return def.nodes[target] end
  local at = node.parent
  while at do
    if at.children[target] then return at.children[target] end
    at = at.parent
  end
  return node.children and node.children[target]
end

local function inside(node, ancestor)
  while node and node ~= ancestor do node = node.parent end
  return node ~= nil
end

-- The innermost state that stays active: a transition to the state itself or out of it leaves it, one into it does not.
local function domain_of(source, target)
  if source ~= target and inside(target, source) then return source end
  local at = source
  while not (at.parent and inside(target, at.parent) and at.parent ~= target) do at = at.parent end
  return at.parent
end

local function each_transition(node, fn)
  for _, event in ipairs(options.sorted_keys(node.on)) do
    for _, t in ipairs(node.on[event]) do fn(t, event) end
  end
  for _, after in ipairs(node.after) do
    for _, t in ipairs(after.transitions) do fn(t, after.label) end
  end
end

local function link(def, node)
  each_transition(node, function(t, event)
    if not t.target then return end
    local target = resolve(def, node, t.target)
    if not target then
      local names, seen = {}, {}
      for _, path in ipairs(def.paths) do names[#names + 1], seen[path] = path, true end
      for _, path in ipairs(def.paths) do
        local last = path:match("[^.]+$")
        if not seen[last] then names[#names + 1], seen[last] = last, true end
      end
      local what = node.path and ": state \"" .. node.path .. "\"" or ""
      fail(def.where .. what .. ", event \"" .. event .. "\": there is no state \"" .. t.target .. "\"; there are: "
        .. table.concat(def.paths, ", ") .. near(t.target, names))
    end
    t.target, t.domain = target, domain_of(node, target)
  end)
  for _, name in ipairs(node.order or {}) do link(def, node.children[name]) end
end

local function check_done_events(def)
  for event in pairs(def.events) do
    local path = event:match("^done:(.*)$")
    if path then
      local compounds, has_final = {}, false
      for _, p in ipairs(def.paths) do
        if def.nodes[p].children then compounds[#compounds + 1] = p end
      end
      for _, child in pairs(def.nodes[path] and def.nodes[path].children or {}) do has_final = has_final or child.final end
      if not has_final then
        fail(def.where .. ": event \"" .. event .. "\": " .. (def.nodes[path] and "state \"" .. path .. "\" has no final state inside it"
          or "there is no state \"" .. path .. "\"" .. near(path, compounds)))
      end
    end
  end
end

-- States that nothing leads to.
local function unreachable(def)
  local seen, list = {}, {}
  local function reach(node)
    if seen[node] then return end
    seen[node] = true
    if node.parent then reach(node.parent) end
    if node.initial then reach(node.initial) end
    each_transition(node, function(t)
      if t.target then reach(t.target) end
    end)
  end
  reach(def.root)
  for _, path in ipairs(def.paths) do
    if not seen[def.nodes[path]] then list[#list + 1] = path end
  end
  return list
end

local function copy(v, where, depth)
  if type(v) ~= "table" then return v end
  if depth > 32 then fail(where .. ": context: tables nest more than 32 deep") end
  local out = {}
  for key, value in pairs(v) do out[key] = copy(value, where, depth + 1) end
  return out
end

local function build(t)
  local where = "iotix.fsm"
  if type(t) == "table" and type(t.name) == "string" then where = where .. " \"" .. t.name .. "\"" end
  local o = options.check(t, root_spec, where, fail)
  local label = o.name and "fsm \"" .. o.name .. "\"" or "fsm"
  local def = { where = where, name = o.name, label = label, nodes = {}, paths = {}, events = {}, event_names = {}, commands = {} }
  def.root = { depth = 0 }
  read_node(def, def.root, o, where)
  link(def, def.root)
  check_done_events(def)
  for _, event in ipairs(options.sorted_keys(def.events)) do
    def.event_names[#def.event_names + 1] = event
    local name = event:match("^command:(.+)$")
    if name then def.commands[#def.commands + 1] = name end
  end
  local context = copy(o.context, where, 1)
  def.copy_context = function() return copy(context, where, 1) end
  def.first = def.root.initial
  while def.first.initial do def.first = def.first.initial end
  return def
end

local definitions = setmetatable({}, { __mode = "k" })

--- A definition: checked here, with the line of the call.
function M.new(t)
  local ok, def = pcall(build, t)
  if not ok then error(def, 2) end
  if not native.lenient then -- the director has told
    for _, path in ipairs(unreachable(def)) do
      local _, position = pcall(error, "", 3)
      native.log("warn", position .. def.where .. ": nothing leads to state \"" .. path .. "\"")
    end
  end
  local view = setmetatable({ name = def.name }, Definition)
  definitions[view] = def
  return options.seal(view, "a state machine")
end

local function definition_of(self, what)
  local def = definitions[options.unseal(self, "a state machine")]
  if not def then error(what .. ": call it as fsm:" .. what:match("[^.:]*$") .. "(…), with a colon", 3) end
  return def
end

-- --- what authors call -------------------------------------------------------------------------------------------------------

--- Gives the device a machine of its own; its initial entry actions run in a task of the device.
function Definition:start(dev, context)
  local def = definition_of(self, "fsm:start")
  if context ~= nil and type(context) ~= "table" then error("fsm:start: context: expected a table, got a " .. type(context), 2) end
  local m = machine.start(def, dev, context) -- no tail call: errors are told with the line of the caller
  return m
end

--- A function(dev) for `behaviour =`: connects, starts the machine, binds it.
function Definition:behaviour()
  definition_of(self, "fsm:behaviour")
  return function(dev)
    local ok, why = dev:connect()
    if not ok then error("not connected: " .. tostring(why), 0) end
    self:start(dev):bind()
  end
end

local function quoted(text) return '"' .. tostring(text):gsub('[\\"]', "\\%0"):gsub("\n", "\\n") .. '"' end

local function dot_node(node, lines, indent)
  if not node.children then
    lines[#lines + 1] = indent .. quoted(node.path) .. " [label=" .. quoted(node.name) .. (node.final and ", peripheries=2" or "") .. "]"
    return
  end
  local deeper = indent
  if node.path then
    deeper = indent .. "  "
    lines[#lines + 1] = indent .. "subgraph " .. quoted("cluster_" .. node.path) .. " {"
    lines[#lines + 1] = deeper .. "label=" .. quoted(node.name .. (node.history and " (" .. node.history .. " history)" or ""))
  end
  for _, name in ipairs(node.order) do dot_node(node.children[name], lines, deeper) end
  if node.path then lines[#lines + 1] = indent .. "}" end
end

local function leaf_of(node)
  while node.initial do node = node.initial end
  return node
end

local function dot_edges(node, lines)
  each_transition(node, function(t, event)
    local target = t.target or node
    local attributes = { "label=" .. quoted(event .. (t.guard and " [guard]" or "") .. (t.action and " / action" or "")) }
    if node.children then attributes[#attributes + 1] = "ltail=" .. quoted("cluster_" .. (node.path or "")) end
    if target.children then attributes[#attributes + 1] = "lhead=" .. quoted("cluster_" .. (target.path or "")) end
    if not t.target then attributes[#attributes + 1] = "style=dashed" end
    lines[#lines + 1] = "  " .. quoted(leaf_of(node).path) .. " -> " .. quoted(leaf_of(target).path) .. " ["
      .. table.concat(attributes, ", ") .. "]"
  end)
  for _, name in ipairs(node.order or {}) do dot_edges(node.children[name], lines) end
end

--- The machine as Graphviz text.
function Definition:dot()
  local def = definition_of(self, "fsm:dot")
  local lines = { "digraph " .. quoted(def.name or "fsm") .. " {", "  compound=true", "  node [shape=box, style=rounded]",
    '  "" [shape=point]' }
  dot_node(def.root, lines, "  ")
  lines[#lines + 1] = '  "" -> ' .. quoted(def.first.path)
  dot_edges(def.root, lines)
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n") .. "\n"
end

return M
