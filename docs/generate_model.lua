-- Prints docs/reference/device-model.md from models/schema/device-model.schema.json:
--   luajit docs/generate_model.lua > docs/reference/device-model.md
package.path = "lua/?.lua;" .. package.path
local json = require "iotix._core.json"

local file = assert(io.open("models/schema/device-model.schema.json", "rb"))
local schema = assert(json.decode(file:read("*a")))
file:close()

local out = {}
local function put(s) out[#out + 1] = s or "" end
local function code(s) return "`" .. s .. "`" end
local function cell(s) return (s:gsub("|", "\\|"):gsub("\n", " ")) end

local function resolve(node)
  while type(node) == "table" and node["$ref"] do
    local place = node["$ref"]
    node = schema
    for token in place:sub(2):gmatch("/([^/]+)") do node = node[token] end
  end
  return node
end

-- Sections of their own: definition → anchor.
local sections = {
  { "connection", "Connection" }, { "attribute", "Telemetry attribute" }, { "generator", "Generator" }, { "anomaly", "Anomaly" },
  { "encoding", "Encoding" }, { "command", "Command" }, { "parameter", "Parameter of a command" }, { "behavior", "Behavior" },
  { "trigger", "Trigger" }, { "action", "Action" }, { "child", "Children of a gateway" }, { "aggregation", "Aggregation of a gateway" },
  { "proxy", "Proxy" },
}
local title_of = {}
for _, s in ipairs(sections) do title_of[s[1]] = s[2] end
local function link(name)
  return "[" .. title_of[name]:lower() .. "](#" .. title_of[name]:lower():gsub(" ", "-") .. ")"
end

local function limits(node)
  local words = {}
  local function add(...) words[#words + 1] = string.format(...) end
  local low, high = node.minimum, node.maximum
  if low and high then add("%s to %s", json.encode(low), json.encode(high))
  elseif low then add("from %s on", json.encode(low))
  elseif high then add("up to %s", json.encode(high)) end
  if node.exclusiveMinimum then add("above %s", json.encode(node.exclusiveMinimum)) end
  if node.minItems and node.minItems == node.maxItems then add("%d of them", node.minItems)
  elseif node.maxItems then add("at most %d", node.maxItems) end
  if node.maxLength and node.minLength ~= node.maxLength then add("at most %d characters", node.maxLength) end
  if node.minLength and node.minLength == node.maxLength then add("%d character%s", node.minLength, node.minLength == 1 and "" or "s") end
  return table.concat(words, ", ")
end

local function kind(node)
  local ref = node["$ref"] and node["$ref"]:match("^#/definitions/(%w+)$")
  if ref and title_of[ref] then return link(ref) end
  if ref == "nestedGenerator" then return link "generator" end
  if ref == "anomalies" then return "array of " .. link "anomaly" end
  node = resolve(node)
  if node.enum then
    local words = {}
    for i = 1, #node.enum do words[i] = code(type(node.enum[i]) == "string" and node.enum[i] or json.encode(node.enum[i])) end
    return table.concat(words, " ")
  end
  local types = json.type(node.type) == "array" and table.concat(node.type, " or ") or node.type or "any"
  if types == "array" and node.items then types = "array of " .. kind(node.items) end
  local more = limits(node)
  return more ~= "" and types .. ", " .. more or types
end

local function meaning(node)
  node = resolve(node)
  local text = node.description or ""
  if node.examples then
    local shown = {}
    for i = 1, math.min(2, #node.examples) do shown[i] = code(json.encode(node.examples[i])) end
    text = text .. " Such as " .. table.concat(shown, ", ") .. "."
  end
  return cell(text)
end

local function table_of(node, required)
  local needed = {}
  for _, name in ipairs(required or {}) do needed[name] = true end
  put("| Key | Value | Default | Meaning |")
  put("|---|---|---|---|")
  for _, key in ipairs(json.keys(node.properties)) do
    local property = node.properties[key]
    if property ~= true then
      local target = resolve(property)
      local default = needed[key] and "**needed**" or target.default ~= nil and code(cell(json.encode(target.default))) or ""
      put(string.format("| %s | %s | %s | %s |", code(key), cell(kind(property)), default, meaning(property)))
    end
  end
  put()
end

-- One line for each type of something that has its own keys by `type`.
local function types_of(node, shared)
  put("| `type` | Needed | Further keys | What it is |")
  put("|---|---|---|---|")
  for _, branch in ipairs(node.allOf) do
    local definition = resolve(branch["then"])
    local name = branch["if"].properties.type.const
    local needed, further, is_needed = {}, {}, {}
    for _, key in ipairs(definition.required or {}) do
      needed[#needed + 1], is_needed[key] = code(key), true
    end
    local one = {}
    for _, alternative in ipairs(definition.oneOf or {}) do
      one[#one + 1] = code(alternative.required[1])
      is_needed[alternative.required[1]] = true
    end
    if #one > 0 then needed[#needed + 1] = "one of " .. table.concat(one, ", ") end
    for _, key in ipairs(json.keys(definition.properties)) do
      local property = definition.properties[key]
      local borrowed = type(property) == "table" and (property["$ref"] or ""):find("publishedGenerator", 1, true)
      local idle = borrowed and not resolve(property).description:find(name .. ":", 1, true) -- may be there, and does nothing
      if key ~= "type" and not is_needed[key] and not shared[key] and not idle then further[#further + 1] = code(key) end
    end
    put(string.format("| %s | %s | %s | %s |", code(name) .. (definition == schema.definitions.sequenceOfValues and " with `values`" or ""),
      table.concat(needed, ", "), table.concat(further, " "), cell(definition.description)))
  end
  put()
end

-- The params of each failure of an action.
local function failures_of(node)
  put("### Params of failures")
  put()
  put("| `failure` | Key | Value | Default | Meaning |")
  put("|---|---|---|---|---|")
  for _, branch in ipairs(node.allOf) do
    local which = branch["if"].properties.failure
    local definition = which and resolve(branch["then"].properties.params)
    for _, key in ipairs(which and json.keys(definition.properties) or {}) do
      local property, needed = definition.properties[key], false
      for _, name in ipairs(definition.required or {}) do needed = needed or name == key end
      put(string.format("| %s | %s | %s | %s | %s |", code(which.const), code(key), cell(kind(property)), needed and "**needed**"
        or property.default ~= nil and code(json.encode(property.default)) or "", meaning(property)))
    end
  end
  put()
  put("`duplicateId` has none.")
  put()
end

local function example(value)
  put("```json")
  put(json.encode(value))
  put("```")
  put()
end

put "# Device model"
put()
put "<!-- Made by docs/generate_model.lua from models/schema/device-model.schema.json: edit that. -->"
put()
put [[A device model is a JSON file that says what a virtual device is: how it connects, which values it makes and publishes, which
commands it takes, what it does by itself. `iotix-run model check FILE...` checks one, with the place of everything that is wrong. In an
editor, `"$schema": "./schema/device-model.schema.json"` (the path to `models/schema`) shows the descriptions below while you type. How
to write one: [how-to](../how-to/write-a-device-model.md); models to copy: [examples](../how-to/example-models.md).]]
put()
put "Durations are whole milliseconds in keys that end in `Ms`. Unknown keys are errors. Whole numbers may be written as `1000.0` or `1e3`."
put()
put "## Model"
put()
table_of(schema, { "id", "name", "type", "protocol" })
put [[## Placeholders

Patterns (`topicPattern`, `clientIdPattern`, topics, `idPattern`) may hold `${deviceId}`, `${groupId}`, `${index}` (the device's number in
its group, from 1 on), `${attribute}` (its name, where one attribute goes out alone) and `${timestamp}`. The older form `{deviceId}` is
taken too. Payload templates may also hold the names of the attributes, answers of commands those of their parameters.

## Building on another model

`"extends"` names the model that this one builds on: an id (`temperature-sensor`), an id with a version (`temperature-sensor@1.2`), or a
path from this file on (`./base.json`, `../shared/base.json`). This model is laid over the other one:

- Objects merge by key.
- `telemetry`, `commands`, `behaviors` and `parameters` (every list whose elements are objects with a `name`) merge by name, in the
  order of the base; new names come behind.
- A generator, encoding, trigger or action with another `type` than the base's takes its place as a whole: the keys of a walk are of no
  use to a sine.
- `null` removes a key.
- Everything else is replaced.

`id` and `version` are a model's own and never inherited. What is needed is needed of the whole: the base may lack it, the model that
extends may lack it, together they have it. Sixteen models may extend each other; a circle is an error that names it. A relative
`dataFile` or `routeFile` is looked for beside the model that names it. `iotix-run model show FILE` prints what comes out.

## Where a model is found, and versions

A scenario (`model = "valve@1.2"`), `extends` and `children` name models in the same way. Searched are, in this order: the directory of the
scenario (or of the model that says so), `models` and `../models` beside it, the directories of `--model-dir`, and those that came with
iotix.

| Reference | Means |
|---|---|
| `valve` | the first `valve.json`; where there is none, the highest version of the files `valve@VERSION.json` |
| `valve@1.2.0`, `valve@1.2`, `valve@1` | the highest such version of all files `valve.json` and `valve@VERSION.json` in all directories |
| `parts/valve.json` | that file below one of the directories |

A version is what the file says in `version` (`1.0.0` where it says nothing), not what its name says. Two files with the same id and
version that differ are an error that names both.

## Passwords

A model never holds a password: `connection.passwordRef` is the name of one. `iotix-run --secrets FILE` gives them, as lines
`NAME=VALUE` or as a JSON object; the file must be readable by its owner alone (`chmod 600`), unless `--insecure-secrets` is said. A
name that is not in the file is looked for in the environment: `broker-password` in `IOTIX_SECRET_BROKER_PASSWORD`. A group with a
`password` of its own in the scenario needs none. A name that is nowhere is an error before the start. Passwords are in no log, plan or
summary.
]]
local complete = schema.definitions.complete.properties
local required = {
  attribute = { "name", "type", "generator" }, parameter = { "name", "type" }, behavior = { "name", "trigger", "action" },
  trigger = complete.behaviors.items.properties.trigger.required, action = complete.behaviors.items.properties.action.required,
}
for _, s in ipairs(sections) do
  local node = schema.definitions[s[1]]
  put("## " .. s[2])
  put()
  put(node.description)
  put()
  if s[1] == "generator" then
    put("All of them take [anomalies](#anomaly). Keys, formulas and examples are in [generators](generators.md). `random`, `sequence`,")
    put("`constant`, `replay` and `custom` are the published format's and may carry each other's keys, which then do nothing.")
    put()
    types_of(node, { anomalies = true })
    for i = 1, #node.examples do example(node.examples[i]) end
  elseif s[1] == "anomaly" then
    types_of(node, { probability = true, atMs = true, everyMs = true, durationMs = true })
    put("And when, exactly one of the first three:")
    put()
    table_of(schema.definitions.anomalyTiming)
    for i = 1, #node.examples do example(node.examples[i]) end
  elseif s[1] == "encoding" then
    put("[Payloads](payloads.md) shows the bytes of each.")
    put()
    types_of(schema.definitions.encodingObject, {})
    for i = 1, #node.examples do example(node.examples[i]) end
  else
    table_of(node, required[s[1]] or node.required)
    if s[1] == "action" then failures_of(node) end
  end
end
while out[#out] == "" do out[#out] = nil end
io.write(table.concat(out, "\n"), "\n")
