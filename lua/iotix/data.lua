-- Data files: one row a device. The file is looked at while the scenario is loaded; the devices read their rows from one
-- mapping that all shards share.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local spec = {
  path = { "string", required = true },
  format = { options.choice("csv", "ndjson", "json") },
  delimiter = { function(v)
    if type(v) == "string" and #v == 1 and not v:find('[%c"]') or v == "\t" then return v end
    return nil, 'one character, such as ";" or "\\t"'
  end },
  header = { "boolean" },
  numbers = { "boolean", default = false },
}

--- iotix.data{ "devices.csv", format =, delimiter =, header =, numbers = }
function M.open(t)
  options.only_while_loading("iotix.data")
  if type(t) == "string" then t = { t } end
  if type(t) ~= "table" or type(t[1]) ~= "string" then
    error('iotix.data: expected a file, as in iotix.data{ "devices.csv" }', 2)
  end
  local copy = {}
  for k, v in pairs(t) do copy[k] = v end
  copy[1], copy.path = nil, t[1]
  if t.path ~= nil then error('iotix.data: the path comes first: iotix.data{ "devices.csv" }', 2) end
  local o = options.check(copy, spec, "iotix.data", 2)
  local found, message = native.data(o.path, o)
  if not found then error("iotix.data: " .. message, 2) end
  o.path, o.rows, o.columns = found.path, found.rows, found.columns
  return options.seal(o, "a data file")
end

--- Converter for option tables.
function M.is_data(v)
  local data = options.unseal(v, "a data file")
  if data then return data end
  return nil, 'what iotix.data returns, as in iotix.data{ "devices.csv" }'
end

--- What of it travels in the plan.
function M.plan(data)
  return data and { path = data.path, rows = data.rows, format = data.format, delimiter = data.delimiter, header = data.header,
    numbers = data.numbers }
end

local function check_column(where, key, data, column)
  local placeholder = where .. ": " .. key .. ": ${data." .. column .. "}"
  if not data then error(placeholder .. ' needs data = iotix.data{ "devices.csv" } in the group', 0) end
  for _, name in ipairs(data.columns) do
    if name == column then return end
  end
  local near = native.suggest(column, data.columns)
  error(placeholder .. ": " .. data.path .. " has no such column; there is " .. table.concat(data.columns, ", ")
    .. (near and ('; did you mean "' .. near .. '"?') or ""), 0)
end

--- Raises when a pattern of `patterns` { key = text } asks for a column that is not there.
function M.check_patterns(where, data, patterns)
  for _, key in ipairs(options.sorted_keys(patterns)) do
    local text = tostring(patterns[key]):gsub("%$%${", "")
    for column in text:gmatch("%${data%.([^{}]+)}") do check_column(where, key, data, column) end
  end
end

return M
