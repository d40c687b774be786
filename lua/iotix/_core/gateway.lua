-- iotix.behaviour.gateway: children that share the gateway's connection. Each has its own values and its own state; what they say is
-- forwarded as it comes, or collected and sent together, and commands for them are handed to a function of the author.
local command = require "iotix._core.command"
local native = require "iotix._core.native"
local options = require "iotix._core.options"
local values = require "iotix._core.values"

local M = {}

local CHILDREN_MAX = 1000

local function fail(text) error(text, 0) end

local placeholders = { "base", "childId", "childIndex", "deviceId", "groupId", "index" }

-- The names in ${…} that are none.
local function check_pattern(where, pattern, without)
  for name in pattern:gmatch("%${(.-)}") do
    local known = false
    for _, p in ipairs(placeholders) do known = known or (p == name and p ~= without) end
    if not known then
      local near = native.suggest(name, placeholders)
      fail(where .. ": unknown placeholder ${" .. name .. "}; valid: " .. table.concat(placeholders, ", ")
        .. (near and near ~= without and ('; did you mean "' .. near .. '"?') or ""))
    end
  end
end

local function fill(pattern, scope)
  return (pattern:gsub("%${(.-)}", function(name) return tostring(scope[name]) end))
end

local child_spec = { id = { "pattern" }, values = { values.check } }

local function aggregate_of(v)
  if v == "forward" or v == "batch" or type(v) == "function" then return v end
  return nil, '"forward", "batch" or a function(dev, messages)'
end

M.spec = {
  children = { function(v)
    if type(v) == "number" and v >= 1 and v <= CHILDREN_MAX and v == math.floor(v) then return v end
    if type(v) == "table" and #v >= 1 and #v <= CHILDREN_MAX then return v end
    return nil, "a number from 1 to " .. CHILDREN_MAX .. ", or a list of ids or of { id =, values = }"
  end, required = true },
  id = { "pattern", default = "${deviceId}-${childIndex}" }, values = { values.check }, interval = { "duration" },
  jitter = { "duration", default = 0 }, topic = { "pattern" }, qos = { "qos" }, aggregate = { aggregate_of, default = "forward" },
  batch_interval = { "duration" }, max_messages = { "times", default = 100 }, on_command = { "function" },
}

local function check_children(o, where)
  if type(o.children) == "number" then
    local n = o.children
    o.children = {}
    for i = 1, n do o.children[i] = {} end
    if n > 1 and not o.id:find("${childIndex}", 1, true) then fail(where .. ": id: ${childIndex} must tell the children apart") end
    return
  end
  local list, seen = {}, {}
  for i, child in ipairs(o.children) do
    if type(child) == "string" then child = { id = child } end
    list[i] = options.check(child, child_spec, where .. ": children[" .. i .. "]", fail)
    if list[i].id then check_pattern(where .. ": children[" .. i .. "]: id", list[i].id, "base") end
    if list[i].id and seen[list[i].id] then fail(where .. ": children[" .. i .. "]: another child is named " .. list[i].id) end
    seen[list[i].id or i] = true
  end
  o.children = list
end

--- What options.check does not see.
function M.check(o, where)
  check_pattern(where .. ": id", o.id, "base")
  check_children(o, where)
  local any = o.values ~= nil
  for _, child in ipairs(o.children) do any = any or child.values ~= nil end
  if any and not o.interval then fail(where .. ": interval is missing: how often a child is sampled") end
  if not any and o.interval then fail(where .. ": values is missing: what a child measures") end
  if not any and not o.on_command then fail(where .. ": give it values, on_command, or both") end
  if o.aggregate == "forward" then
    if o.batch_interval then fail(where .. ": batch_interval is for an aggregate") end
    o.topic = o.topic or "${base}/${childId}/telemetry"
  end
  o.topic = o.topic or "batch"
  check_pattern(where .. ": topic", o.topic)
  if o.aggregate ~= "forward" and o.topic:find("${child", 1, true) then
    fail(where .. ": topic: what is sent together goes to one topic, which names no child")
  end
  if o.max_messages < 1 then fail(where .. ": max_messages: at least 1") end
end

-- --- running -----------------------------------------------------------------------------------------------------------------

local function start_children(o, dev, base)
  local children, by_id = {}, {}
  for i, definition in ipairs(o.children) do
    local scope = { base = base, childIndex = i, deviceId = dev.id, groupId = dev.group, index = dev.index }
    scope.childId = fill(definition.id or o.id, scope)
    local child = { id = scope.childId, index = i, state = {} }
    if by_id[child.id] then error("iotix.behaviour.gateway: two children are named " .. child.id, 0) end
    by_id[child.id] = child
    local source = definition.values or o.values
    local topic = o.aggregate == "forward" and o.topic or "${base}/${childId}/telemetry"
    children[i] = { child = child, source = source and values.start(source, dev, child), topic = fill(topic, scope), sample = {} }
  end
  return children, by_id
end

local function send(self)
  local batch, o = self.batch, self.o
  if #batch == 0 then return end
  self.batch = {}
  local payload
  if type(o.aggregate) == "function" then
    payload = o.aggregate(self.dev, batch)
    if payload == nil then return end
  else
    payload = batch
  end
  self.dev:publish(self.topic, payload, self.publish)
end

local function sample(self)
  local o, dev = self.o, self.dev
  for _, c in ipairs(self.children) do
    if c.source and o.aggregate == "forward" then
      c.source:draw(c.sample)
      dev:publish(c.topic, c.sample, self.publish)
    elseif c.source then
      -- The same as a message of a model's gateway in its batch (docs/how-to/gateways.md).
      local message = { device = c.child.id, topic = c.topic, at = math.floor(native.now() * 1000), payload = {} }
      c.source:draw(message.payload)
      self.batch[#self.batch + 1] = message
      if #self.batch >= o.max_messages then send(self) end
    end
  end
end

-- Commands for children come on BASE/CHILD/command and are answered on BASE/CHILD/response.
local function take_commands(self, base, by_id)
  local o, dev = self.o, self.dev
  local ok, why = dev:subscribe(base .. "/+/command", function(message)
    local id = message.topic:sub(#base + 2, -#"/command" - 1)
    command.run(dev, function(cmd)
      local child = by_id[id]
      if child then return o.on_command(dev, child, cmd) end
      return nil, "unknown child \"" .. id .. "\"", "unknown"
    end, message, base .. "/" .. id .. "/response")
  end)
  if not ok then error("iotix.behaviour.gateway: commands of the children: " .. tostring(why), 0) end
end

--- The behaviour.
function M.run(o, dev, connect)
  local base = dev:topic("x"):sub(1, -3)
  local children, by_id = start_children(o, dev, base)
  local self = { o = o, dev = dev, children = children, batch = {}, topic = fill(o.topic, { base = base, deviceId = dev.id,
    groupId = dev.group, index = dev.index }), publish = o.qos and { qos = o.qos } }
  connect(dev)
  if o.on_command then take_commands(self, base, by_id) end
  if not o.interval then return end
  local ticks = math.max(1, math.floor((o.batch_interval or 0) / o.interval + 0.5)) -- of a batch
  for tick in dev:every(o.interval / 1e6, { jitter = o.jitter / 1e6 }) do
    sample(self)
    if tick % ticks == 0 then send(self) end
  end
end

return M
