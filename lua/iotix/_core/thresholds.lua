-- thresholds = { metric = "expr" | { "expr", abort =, delay_abort =, no_data = } | list of those }
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local spec = {
  [1] = { "string", required = true },
  abort = { "boolean", default = false },
  delay_abort = { "duration", default = 0 },
  no_data = { options.choice("fail", "pass") },
}

local function one(out, metric, t, level)
  local where = "thresholds: " .. metric
  if type(t) == "string" then t = { t } end
  local rule = options.check(t, spec, where, level + 1)
  local ok, message = native.threshold(metric, rule[1])
  if not ok then error("iotix.scenario: " .. where .. ": " .. message, level + 1) end
  out[#out + 1] = { metric = metric, expr = rule[1], abort = rule.abort, delay_abort = rule.delay_abort, no_data = rule.no_data }
end

--- A list in order of the metrics' names.
function M.check(thresholds, level)
  local out = {}
  for _, metric in ipairs(options.sorted_keys(thresholds)) do
    local t = thresholds[metric]
    if type(metric) ~= "string" then
      error("iotix.scenario: thresholds: use metric names as keys, such as publish_latency = \"p95 < 200ms\"", level)
    end
    if type(t) == "table" and (type(t[2]) == "string" or type(t[1]) == "table") then
      for _, each in ipairs(t) do one(out, metric, each, level) end
    else
      one(out, metric, t, level)
    end
  end
  return out
end

return M
