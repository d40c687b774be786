-- iotix.sink: where the messages of devices go beside their servers. What a constructor returns belongs into `sinks` of the
-- scenario; options are named as in Lua (retention_policy) and travel as the runtime names them (retentionPolicy). The runtime checks
-- their values; here only names and kinds are looked at, so that an error names the author's line.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local WHAT = "a sink" -- _core/sinks.lua asks for it by that name

-- A duration or a size, as people write it: checked here, written as it stands.
local function as_written(kind)
  return function(v)
    local converted, expected, problem = options.types[kind](v)
    if converted == nil then return nil, expected, problem end
    return v
  end
end

local duration, size = as_written("duration"), as_written("size")
local full = options.choice("block", "drop")

local function path(v)
  if type(v) ~= "string" or v == "" or v:find("%z") then return nil, "a path" end
  return v
end

local function path_or_false(v)
  if v == false then return v end
  local p = path(v)
  if p then return p end
  return nil, "a path, or false"
end

local function texts(v)
  if type(v) ~= "table" then return nil, "a table { name = text }" end
  local copy = {}
  for name, value in pairs(v) do
    if type(name) ~= "string" or name == "" or type(value) ~= "string" or value == "" then return nil, "a table { name = text }" end
    copy[name] = value
  end
  return copy
end

local specs = {
  influx = {
    name = { "name" }, url = { "string", required = true }, api = { options.choice(1, 2) },
    database = { "string" }, retention_policy = { "string" }, org = { "string" }, bucket = { "string" },
    token = { "string", secret = true }, token_ref = { "string" },
    username = { "string" }, password = { "string", secret = true }, password_ref = { "string" },
    create = { "boolean" }, retention = { duration }, gzip = { "boolean" }, events = { "boolean" },
    batch = { options.whole(1, 100000) }, connections = { options.whole(1, 8) }, memory = { size }, flush = { duration },
    timeout = { duration }, stats_interval = { duration }, spill = { path_or_false }, spill_max = { size }, full = { full },
    measurement = { "string" }, tags = { texts }, ca = { path }, cert = { path }, key = { path }, verify = { "boolean" },
  },
}
local file = {
  name = { "name" }, path = { path, required = true }, rotate_size = { size }, rotate_age = { duration },
  keep = { options.whole(0, 1000000) }, memory = { size }, full = { full }, events = { "boolean" },
}

local function camel(name)
  return (name:gsub("_(%l)", string.upper))
end

local function constructor(type_name, spec)
  return function(t)
    local where = "iotix.sink." .. type_name:gsub("-", "_")
    options.only_while_loading(where)
    if type(t) == "string" then t = spec.url and { url = t } or { path = t } end
    local checked = options.check(t, spec, where, 2)
    local plain = {}
    for key, value in pairs(checked) do
      if key ~= "name" then plain[camel(key)] = value end
    end
    return options.seal({ type = type_name, name = checked.name, options = plain, line = native.caller_line(2) }, WHAT)
  end
end

M.influx = constructor("influx", specs.influx)
M.ndjson = constructor("ndjson", file)
M.csv = constructor("csv", file)
M.line_protocol = constructor("line-protocol", file)

return M
