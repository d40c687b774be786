-- iotix.params{ NAME = { type =, default =, help = } }: typed parameters of a scenario, set with -p NAME=value.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = { declared = {}, done = false }

local function to_number(text)
  local n = tonumber(text)
  if n and n == n and n > -math.huge and n < math.huge then return n end
end

local converters = {
  string = function(text) return text end,
  url = function(text)
    if text == "embedded" or text:find("^[%w%+%.%-]+://[^%s]+$") or text:find("^[%w%.%-]+:?%d*$") then return text end
  end,
  number = to_number,
  integer = function(text)
    local n = to_number(text) or native.count(text)
    if n and n == math.floor(n) then return n end
  end,
  boolean = function(text)
    local words = { ["true"] = true, yes = true, ["1"] = true, ["false"] = false, no = false, ["0"] = false }
    return words[text]
  end,
  duration = function(text)
    if native.duration(text, false) then return text end
  end,
}

local expected = {
  url = "a URL such as mqtt://host:1883", number = "a number", integer = "a whole number", boolean = "true or false",
  duration = 'a duration such as "5s"', string = "a text",
}

local type_names = { "string", "number", "integer", "boolean", "duration", "url" }

local rule_spec = {
  type = { options.choice(unpack(type_names)), default = "string" },
  default = { "any" },
  help = { "text", default = "" },
  required = { "boolean", default = false },
}

local given_text = native.params()

function M.declare(t)
  options.only_while_loading("iotix.params")
  if type(t) ~= "table" then error("iotix.params: expected a table { NAME = { type = …, default = … } }", 2) end
  local values = {}
  for _, name in ipairs(options.sorted_keys(t)) do
    if type(name) ~= "string" or not name:find("^[A-Za-z][A-Za-z0-9_-]*$") then
      error("iotix.params: a parameter's name is letters, digits, - and _, and starts with a letter", 2)
    end
    local rule = t[name]
    if type(rule) ~= "table" then rule = { type = type(rule), default = rule } end
    rule = options.check(rule, rule_spec, "iotix.params: " .. name, 2)
    if rule.default ~= nil then
      local converted = converters[rule.type](tostring(rule.default))
      if converted == nil then
        error("iotix.params: " .. name .. ": the default " .. tostring(rule.default) .. " is not " .. expected[rule.type], 2)
      end
      if type(rule.default) == "string" then rule.default = converted end
    end
    local text = given_text[name]
    local value = rule.default
    if text ~= nil then
      value = converters[rule.type](text)
      if value == nil then
        native.diagnostic("IOTX040", native.path, native.caller_line(2), 0,
          string.format("parameter %s: expected %s, got %q", name, expected[rule.type], text), rule.help)
        value = rule.default
      end
    elseif rule.required then
      native.diagnostic("IOTX041", native.path, native.caller_line(2), 0, "parameter " .. name .. " is required",
        "-p " .. name .. "=…   " .. rule.help)
    end
    values[name] = value
    M.declared[name] = { type = rule.type, default = rule.default, value = value, help = rule.help }
  end
  return values
end

--- After the file has run: every -p must have been declared.
function M.check_all_known()
  local names = options.sorted_keys(M.declared)
  for _, name in ipairs(options.sorted_keys(given_text)) do
    if not M.declared[name] then
      local near = native.suggest(name, names)
      native.diagnostic("IOTX042", native.path, 0, 0, "unknown parameter \"" .. name .. "\"; "
        .. (#names > 0 and ("this scenario has: " .. table.concat(names, ", ")) or "this scenario declares none"),
        near and ("did you mean -p " .. near .. "=…?") or "parameters are declared with iotix.params{ … }")
    end
  end
end

return M
