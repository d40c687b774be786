-- Profiles of networks: those that come with the product (iotix/chaos/profiles.lua) and those of authors, by name and version.
local builtin = require "iotix.chaos.profiles"
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local fault_keys = { "latency", "rtt", "loss", "duplicate", "reorder", "corrupt", "bandwidth", "mtu", "partition", "halfOpen", "reset",
  "slowClose", "dns", "connect", "tls", "during", "trace", "up", "down" }

--- Keys of a fault as options; what they may be is C's business.
M.fault_spec = {}
for _, key in ipairs(fault_keys) do M.fault_spec[key] = { "any" } end

local own = {} -- name → { versions = { [n] = profile }, latest = n }

local function copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for key, value in pairs(v) do out[key] = copy(value) end
  return out
end

local function all_names()
  local list = options.sorted_keys(builtin)
  for _, name in ipairs(options.sorted_keys(own)) do list[#list + 1] = name end
  return list
end

local function entry_of(name, p)
  return { name = name, version = p.version, description = p.description, source = p.source, fault = copy(p.fault) }
end

--- All of them as { name, version, description, source, fault }, by name; of each the latest version.
function M.list()
  local list = {}
  for name, p in pairs(builtin) do list[#list + 1] = entry_of(name, p) end
  for name, versions in pairs(own) do list[#list + 1] = entry_of(name, versions[versions.latest]) end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- The profile of a name or NAME@VERSION: { name, version, … } | nil, what is wrong.
function M.find(text)
  local name, version = text:match("^(.-)@(%d+)$")
  name, version = name or text, tonumber(version)
  local versions = own[name]
  local p = builtin[name] or versions and versions[version or versions.latest]
  if p and (not version or p.version == version) then return entry_of(name, p) end
  if p or versions then
    return nil, "profile \"" .. name .. "\" has no version " .. version .. "; the latest is " .. (p or versions[versions.latest]).version
  end
  local list = all_names()
  local near = native.suggest(name, list)
  return nil, "there is no profile \"" .. name .. "\"; valid: " .. table.concat(list, ", ")
    .. (near and ("; did you mean \"" .. near .. "\"?") or "")
end

--- What chaos.link was given → fault, { name, version } of its profile or nil | nil, what is wrong.
function M.resolve(what)
  if type(what) == "string" then
    local p, problem = M.find(what)
    if not p then return nil, problem end
    return p.fault, { name = p.name, version = p.version }
  end
  local p = options.unseal(what, "a profile")
  if p then return copy(p.fault), { name = p.name, version = p.version } end
  if options.unseal(what, "an experiment") then return nil, "this is an experiment already" end
  if type(what) == "table" then return copy(what) end
  return nil, "expected the name of a profile, a profile or a fault such as { latency = \"200ms\" }, got a " .. type(what)
end

local rivals = { latency = "rtt", rtt = "latency" } -- two ways to say the same
local sides = { latency = true, rtt = true, loss = true, duplicate = true, reorder = true, corrupt = true, bandwidth = true, mtu = true,
  trace = true }

--- The fault with other values for some of its keys; `false` takes a key out. What is said of both directions replaces what the
--- profile says of one.
function M.override(fault, changes)
  local keys = {}
  for _, key in ipairs(fault_keys) do -- up and down last: what is said of one direction stands
    if changes and changes[key] ~= nil then keys[#keys + 1] = key end
  end
  for _, key in ipairs(keys) do
    local value, rival = changes[key], rivals[key]
    if value == false then value = nil end
    if sides[key] then
      for _, side in ipairs { "up", "down" } do
        if type(fault[side]) == "table" then
          fault[side][key] = nil
          if rival then fault[side][rival] = nil end
          if next(fault[side]) == nil then fault[side] = nil end
        end
      end
    end
    if rival and changes[rival] == nil then fault[rival] = nil end
    fault[key] = copy(value)
  end
  return fault
end

local function checked(p)
  local ok, problem = native.chaos_profile(p)
  if not ok then return nil, problem end
  if builtin[p.name] then return nil, "name: there is a profile \"" .. p.name .. "\" already; give yours another name" end
  local versions = own[p.name] or { latest = 0 }
  p.version = p.version or 1
  versions[p.version], versions.latest = p, math.max(versions.latest, p.version)
  own[p.name] = versions
  return options.seal(p, "a profile")
end

local profile_spec = { name = { "any", required = true }, version = { "any" }, description = { "any" }, source = { "any" },
  fault = { "table" } }
for _, key in ipairs(fault_keys) do profile_spec[key] = { "any" } end

--- chaos.profile { name =, version =, description =, source =, and what is wrong with the network }: profile | nil, problem.
function M.new(where, t)
  local c, expected, problem = options.nested(profile_spec, where)(t)
  if not c then return nil, problem or where .. ": expected " .. expected end
  local fault = c.fault and copy(c.fault)
  for _, key in ipairs(fault_keys) do
    if c[key] ~= nil then
      if c.fault then return nil, where .. ": " .. key .. ": put it into fault, or leave fault out" end
      fault = fault or {}
      fault[key] = copy(c[key])
    end
  end
  local p
  p, problem = checked { name = c.name, version = c.version, description = c.description, source = c.source, fault = fault or {} }
  if not p then return nil, where .. ": " .. problem end
  return p
end

--- A profile of a file beside the scenario, as `iotix-run chaos profiles --json NAME` prints one.
function M.load(where, name)
  local p, problem = native.chaos_profile_file(name)
  if not p then return nil, where .. ": " .. problem end
  p, problem = checked(p)
  if not p then return nil, where .. ": " .. name .. ": " .. problem end
  return p
end

return M
