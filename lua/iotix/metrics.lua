-- A scenario's own metrics: declared while it is loaded, recorded in behaviours and in the test, judged by thresholds, shown in the
-- summary and exported like the product's.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local function tags_of(v)
  if type(v) ~= "table" then return nil, "a table of texts by name, such as { kind = \"order\" }" end
  local list = {}
  for _, key in ipairs(options.sorted_keys(v)) do
    if type(key) ~= "string" or type(v[key]) ~= "string" then
      return nil, "texts by name, such as { kind = \"order\" }"
    end
    if (key .. v[key]):find("[,:{}]") then return nil, "texts without , : { and }" end
    list[#list + 1] = key .. ":" .. v[key]
  end
  return table.concat(list, ",")
end

local plain = { tags = { tags_of } }
local measured = { tags = { tags_of }, unit = { options.choice("time", "bytes") } }
local gauged = { tags = { tags_of }, unit = measured.unit, merge = { options.choice("sum", "max"), default = "sum" } }

local function declare(kind, spec, name, o)
  local where = "iotix.metrics." .. kind
  if type(name) ~= "string" then error(where .. ": expected a name such as \"user_orders\", got a " .. type(name), 3) end
  if not name:find("^user_[a-z0-9_]+$") or #name > 63 then
    local like = "user_" .. name:lower():gsub("^user_", ""):gsub("[^a-z0-9_]", "_"):sub(1, 58)
    error(where .. ": \"" .. name .. "\": a name is \"user_\" and then a to z, 0 to 9 and _, at most 63 characters; such as \""
      .. like .. "\"", 3)
  end
  o = options.check(o or {}, spec, where .. " \"" .. name .. "\"", 3)
  local metric, problem = native.metric(kind, name, o.unit or "", o.merge, o.tags)
  if not metric then error(where .. ": " .. problem, 3) end
  return metric
end

--- A sum that only grows: metric:add(n), n is 1 where it is left out. Options: tags, unit ("bytes").
function M.counter(name, o) return declare("counter", measured, name, o) end

--- A value that goes up and down: metric:set(v), metric:add(v). Options: tags, unit, merge ("sum" or "max", of shards).
function M.gauge(name, o) return declare("gauge", gauged, name, o) end

--- How many of the samples were true: metric:add(boolean). Options: tags.
function M.rate(name, o) return declare("rate", plain, name, o) end

--- A distribution of whole numbers from 0 to 3.6e9: metric:add(v). With unit = "time" v is seconds or "20ms". Options: tags, unit.
function M.trend(name, o) return declare("trend", measured, name, o) end

return M
