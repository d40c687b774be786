-- Finding, reading and validating device models while a scenario is loaded. Every violation becomes a diagnostic with its JSON
-- pointer, line and column.
local native = require "iotix._core.native"
local json = require "iotix._core.json"
local jsonschema = require "iotix._core.jsonschema"

local M = {}
local validator
local cache = {}

local function schema_validator()
  if not validator then
    local schema = assert(json.decode(native.embedded("models/schema/device-model.schema.json")))
    validator = assert(jsonschema.compile(schema))
  end
  return validator
end

--- All violations of a model's text as a list of { pointer, rule, message, line, column }; empty when it is valid.
function M.violations(text)
  local doc, problem, positions = json.decode(text)
  if doc == nil then return { problem }, nil end
  local ok, errors = schema_validator():validate(doc, positions)
  if ok then return {}, doc end
  return errors, doc
end

--- Path, text and document of a model by name; raises or tells diagnostics (and returns a placeholder) when it is no good.
function M.load(name, where)
  if cache[name] then return cache[name].path, cache[name].text, cache[name].doc end
  local path, text = native.find_model(name)
  if not path then
    error(where .. ": model \"" .. name .. "\" was not found; looked at " .. table.concat(text, ", "), 3)
  end
  local violations, doc = M.violations(text)
  for _, v in ipairs(violations) do
    local pointer = v.pointer and v.pointer ~= "" and (v.pointer .. ": ") or ""
    native.diagnostic(v.pointer and "IOTX022" or "IOTX021", path, v.line or 0, v.column or 0, pointer .. v.message,
      v.pointer and "the format is described in docs/reference/device-model.md" or "")
  end
  cache[name] = { path = path, text = text, doc = doc }
  return path, text, doc
end

return M
