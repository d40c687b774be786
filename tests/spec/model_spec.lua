-- The schema of device models: every model of the repository is valid, files of the published format load unchanged, and what is
-- said about broken ones. That every rule of the schema bites is model_rules_spec.lua.

local root = debug.getinfo(1, "S").source:match("^@(.*)tests/spec/[^/]*$") or "./"
package.path = root .. "lua/?.lua;" .. package.path

local json = require "iotix._core.json"
local jsonschema = require "iotix._core.jsonschema"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function decode(text)
  local value, problem = json.decode(text)
  assert(value ~= nil, tostring(problem))
  return value
end

local schema_text = read(root .. "models/schema/device-model.schema.json")
local schema = decode(schema_text)
local validator = assert(jsonschema.compile(schema))

local function violations(text, with)
  local value, problem, positions = json.decode(text)
  assert(value ~= nil, tostring(problem) .. "\n" .. text)
  local _, errors = (with or validator):validate(value, positions)
  return errors
end

describe("the schema itself", function()
  it("is valid draft-07", function()
    local meta = assert(jsonschema.compile(require("iotix._core.jsonschema_draft07").schema()))
    local ok, errors = meta:validate(schema)
    assert.is_true(ok, jsonschema.format(errors))
  end)

  it("describes every key, and its own defaults and examples are valid", function()
    local function walk(node, pointer)
      if json.type(node) ~= "object" then
        return
      end
      for key, sub in pairs(node.properties or {}) do
        local place = pointer .. "/properties/" .. key
        -- `complete` says again what must be there; it is no key of its own
        if json.type(sub) == "object" and not pointer:find("/definitions/complete") then
          local target = sub
          if sub["$ref"] then
            target = schema
            for token in sub["$ref"]:gmatch("/([^/]+)") do target = target[token] end
          end
          assert.is_truthy(pointer:find("/if") or target.description, place .. " has no description")
          for _, value in ipairs(target.examples or {}) do
            local one = assert(jsonschema.compile(sub, { documents = { [schema["$id"]] = schema } })
              or jsonschema.compile({ definitions = schema.definitions, allOf = json.array { sub } }))
            local ok, errors = one:validate(value)
            assert.is_true(ok, place .. ": " .. jsonschema.format(errors))
          end
          if target.default ~= nil then
            local one = assert(jsonschema.compile({ definitions = schema.definitions, allOf = json.array { sub } }))
            assert.is_true(one:validate(target.default), place .. ": its default")
          end
        end
        walk(sub, place)
      end
      for name, sub in pairs(node.definitions or {}) do
        walk(sub, pointer .. "/definitions/" .. name)
      end
      walk(node.items, pointer .. "/items")
    end
    walk(schema, "")
  end)

  it("knows no object that takes any key, but for the free ones", function()
    local free = {}
    local function walk(node, name)
      if json.type(node) ~= "object" then
        return
      end
      if node.type == "object" and node.additionalProperties == nil and not node.allOf then
        free[#free + 1] = name
      end
      for key, sub in pairs(node) do
        if key ~= "examples" and key ~= "default" then
          walk(sub, key)
        end
      end
    end
    walk(schema, "")
    table.sort(free)
    assert.are.same({ "metadata", "params", "params", "state" }, free)
    -- what carries rules by its type lists its keys there
    for _, name in ipairs { "generator", "anomaly", "encodingObject" } do
      for _, branch in ipairs(schema.definitions[name].allOf) do
        local key = branch["then"]["$ref"]:match("[^/]*$")
        assert.is_false(schema.definitions[key].additionalProperties, key)
      end
    end
  end)
end)

describe("the models of the repository", function()
  local pipe = io.popen("ls '" .. root .. "models/'*.json")
  local n = 0
  for path in pipe:lines() do
    n = n + 1
    it(path:match("[^/]*$") .. " is valid", function()
      local errors = violations(read(path))
      assert.are.equal(0, #errors, jsonschema.format(errors, path))
      assert.are.equal(path:match("([^/]*)%.json$"), decode(read(path)).id)
    end)
  end
  pipe:close()
  it("are there", function()
    assert.is_true(n >= 2)
  end)
end)

-- A model with one attribute, command or behavior, or with one key more.
local head = '"id":"m","name":"M","type":"sensor","protocol":"mqtt"'
local function model(rest)
  return "{" .. head .. (rest and "," .. rest or "") .. "}"
end
local function attribute(rest)
  return model('"telemetry":[{"name":"a","type":"number",' .. rest .. "}]")
end
local function generator(rest)
  return attribute('"generator":{' .. rest .. "}")
end
local function command(rest)
  return model('"commands":[{' .. rest .. "}]")
end
local function behavior(trigger, action)
  return model('"behaviors":[{"name":"b","trigger":{' .. trigger .. '},"action":{' .. action .. "}}]")
end
local startup, log = '"type":"startup"', '"type":"log"'

-- Files of the published format, and what is added to it.
local valid = {
  model(), '{"id":"a-b_1","name":"x","type":"proxy","protocol":"http","telemetry":[],"metadata":{"any":{"thing":[1]}}}',
  model '"description":"d","version":"10.20.30","connection":{}',
  model '"$schema":"./x.json","payload":"${a}"',
  model [["connection":{"broker":"mqtt-broker","port":65535,"tls":true,"clientIdPattern":"c-${deviceId}",
    "topicPattern":"sensors/{deviceId}/telemetry","qos":0,"keepAlive":0,"cleanSession":false,"username":"u","passwordRef":"p"}]],
  generator '"type":"random"', generator '"type":"random","min":15.0,"max":35.0,"distribution":"normal","mean":22,"stddev":3',
  generator '"type":"random","distribution":"exponential","rate":0.5', generator '"type":"sequence"',
  generator '"type":"sequence","start":100,"step":-1,"min":0,"max":100,"wrap":false', generator '"type":"constant","value":null',
  generator '"type":"constant"', generator '"type":"constant","value":{"a":[1]},"min":0', -- keys of the others: as published
  generator '"type":"replay","dataFile":"f.csv","loopReplay":false', generator '"type":"custom","handler":"h","params":{"a":1}',
  generator '"type":"uniform","min":1,"max":2', generator '"type":"normal","mean":1,"stddev":0,"min":0,"max":2',
  generator '"type":"exponential","rate":2,"min":1,"max":9', generator '"type":"exponential","mean":2',
  generator '"type":"walk","step":0.1,"start":1,"min":0,"max":2', generator '"type":"sequence","values":["a",1,null],"wrap":false',
  generator '"type":"choice","values":[1,2],"weights":[0,1.5]',
  attribute '"generator":{"type":"random"},"unit":"C","intervalMs":100,"topic":"t/${deviceId}","precision":9',
  model '"telemetry":[{"name":"a","type":"binary","generator":{"type":"random"},"samples":256,"sampleSize":16}]',
  command '"name":"reboot"', command [["name":"set","topic":"t","handler":"h","parameters":[{"name":"p","type":"object","required":true}],
    "response":{"topic":"r","template":{"ok":true,"at":"${timestamp}"}}]], command '"name":"set","response":{"template":"text"}',
  behavior('"type":"event","event":"command:setPower:state=true"', '"type":"setState","state":{"on":true}'),
  behavior('"type":"schedule","schedule":"*/30 * * * * *"', '"type":"publish","topic":"t","payload":{"a":"${b}"}'),
  behavior('"type":"condition","condition":"cpuUsage > 70"', '"type":"disconnect","duration":500'),
  behavior(startup, '"type":"log","message":"m"'), behavior(startup, '"type":"reconnect"'),
  behavior(startup, '"type":"custom","handler":"h","params":{"any":1}'),
  model '"behaviors":[{"name":"b","trigger":{"type":"startup"},"action":{"type":"log"},"enabled":false}]',
}

describe("a valid model", function()
  for i, text in ipairs(valid) do
    it("is taken: number " .. i, function()
      local errors = violations(text)
      assert.are.equal(0, #errors, text .. "\n" .. jsonschema.format(errors))
    end)
  end
end)

-- { text, pointer, rule, part of the message }
local broken = {
  { "[]", "", "type", "must be an object, is an empty array" },
  { '{"name":"M","type":"sensor","protocol":"mqtt"}', "", "required", '"id"' },
  { '{"id":"m","type":"sensor","protocol":"mqtt"}', "", "required", '"name"' },
  { '{"id":"m","name":"M","protocol":"mqtt"}', "", "required", '"type"' },
  { '{"id":"m","name":"M","type":"sensor"}', "", "required", '"protocol"' },
  { model '"telemtry":[]', "/telemtry", "additionalProperties", 'did you mean "telemetry"?' },
  { model '"$schema":1', "/$schema", "type", "a string" },
  { '{"id":"1m","name":"M","type":"sensor","protocol":"mqtt"}', "/id", "pattern", "^[a-zA-Z]" },
  { '{"id":1,"name":"M","type":"sensor","protocol":"mqtt"}', "/id", "type", "a string" },
  { '{"id":"m","name":"","type":"sensor","protocol":"mqtt"}', "/name", "minLength", "at least 1 character" },
  { '{"id":"m","name":"' .. ("é"):rep(256) .. '","type":"sensor","protocol":"mqtt"}', "/name", "maxLength", "255" },
  { '{"id":"m","name":1,"type":"sensor","protocol":"mqtt"}', "/name", "type", "a string" },
  { '{"id":"m","name":"M","type":"sensr","protocol":"mqtt"}', "/type", "enum", 'did you mean "sensor"?' },
  { '{"id":"m","name":"M","type":"sensor","protocol":"mqtt "}', "/protocol", "pattern", "mqtt " },
  { '{"id":"m","name":"M","type":"sensor","protocol":4}', "/protocol", "type", "a string" },
  { model '"description":1', "/description", "type", "a string" },
  { model '"version":"1.0"', "/version", "pattern", "\\d+" },
  { model '"version":1', "/version", "type", "a string" },
  { model '"telemetry":{}', "/telemetry", "type", "an array" },
  { model '"telemetry":[1]', "/telemetry/0", "type", "an object" },
  { model '"payload":{}', "/payload", "type", "a string" },
  { model '"payload":""', "/payload", "minLength", "at least 1" },
  { model '"commands":1', "/commands", "type", "an array" },
  { model '"commands":[1]', "/commands/0", "type", "an object" },
  { model '"behaviors":1', "/behaviors", "type", "an array" },
  { model '"behaviors":[1]', "/behaviors/0", "type", "an object" },
  { model '"metadata":1', "/metadata", "type", "an object" },
  -- connection
  { model '"connection":1', "/connection", "type", "an object" },
  { model '"connection":{"host":"h"}', "/connection/host", "additionalProperties", "valid: broker, port" },
  { model '"connection":{"broker":1}', "/connection/broker", "type", "a string" },
  { model '"connection":{"broker":""}', "/connection/broker", "minLength", "1" },
  { model '"connection":{"port":0}', "/connection/port", "minimum", ">= 1" },
  { model '"connection":{"port":65536}', "/connection/port", "maximum", "<= 65535" },
  { model '"connection":{"port":"1883"}', "/connection/port", "type", "an integer" },
  { model '"connection":{"tls":1}', "/connection/tls", "type", "a boolean" },
  { model '"connection":{"clientIdPattern":1}', "/connection/clientIdPattern", "type", "a string" },
  { model '"connection":{"topicPattern":1}', "/connection/topicPattern", "type", "a string" },
  { model '"connection":{"qos":-1}', "/connection/qos", "minimum", ">= 0" },
  { model '"connection":{"qos":3}', "/connection/qos", "maximum", "<= 2" },
  { model '"connection":{"qos":0.5}', "/connection/qos", "type", "an integer" },
  { model '"connection":{"keepAlive":-1}', "/connection/keepAlive", "minimum", ">= 0" },
  { model '"connection":{"keepAlive":65536}', "/connection/keepAlive", "maximum", "<= 65535" },
  { model '"connection":{"keepAlive":1.5}', "/connection/keepAlive", "type", "an integer" },
  { model '"connection":{"cleanSession":1}', "/connection/cleanSession", "type", "a boolean" },
  { model '"connection":{"username":1}', "/connection/username", "type", "a string" },
  { model '"connection":{"passwordRef":1}', "/connection/passwordRef", "type", "a string" },
  -- attribute
  { model '"telemetry":[{"type":"number","generator":{"type":"random"}}]', "/telemetry/0", "required", '"name"' },
  { model '"telemetry":[{"name":"a","generator":{"type":"random"}}]', "/telemetry/0", "required", '"type"' },
  { model '"telemetry":[{"name":"a","type":"number"}]', "/telemetry/0", "required", '"generator"' },
  { attribute '"generator":{"type":"random"},"intervallMs":1', "/telemetry/0/intervallMs", "additionalProperties",
    'unknown key "intervallMs"; valid: name, type, unit, generator, intervalMs' },
  { model '"telemetry":[{"name":"a-b","type":"number","generator":{"type":"random"}}]', "/telemetry/0/name", "pattern", "a-b" },
  { model '"telemetry":[{"name":1,"type":"number","generator":{"type":"random"}}]', "/telemetry/0/name", "type", "a string" },
  { model '"telemetry":[{"name":"a","type":"float","generator":{"type":"random"}}]', "/telemetry/0/type", "enum", "number" },
  { attribute '"generator":{"type":"random"},"unit":1', "/telemetry/0/unit", "type", "a string" },
  { attribute '"generator":{"type":"random"},"intervalMs":50', "/telemetry/0/intervalMs", "minimum", "must be >= 100, is 50" },
  { attribute '"generator":{"type":"random"},"intervalMs":"1s"', "/telemetry/0/intervalMs", "type", "an integer" },
  { attribute '"generator":{"type":"random"},"topic":1', "/telemetry/0/topic", "type", "a string" },
  { attribute '"generator":{"type":"random"},"precision":10', "/telemetry/0/precision", "maximum", "<= 9" },
  { attribute '"generator":{"type":"random"},"precision":-1', "/telemetry/0/precision", "minimum", ">= 0" },
  { attribute '"generator":{"type":"random"},"precision":1.5', "/telemetry/0/precision", "type", "an integer" },
  { attribute '"generator":{"type":"random"},"samples":1', "/telemetry/0/samples", "false",
    'not allowed here (when type is not "binary")' },
  { attribute '"generator":{"type":"random"},"sampleSize":8', "/telemetry/0/sampleSize", "false", 'when type is not "binary"' },
  { model '"telemetry":[{"name":"a","type":"binary","generator":{"type":"random"},"samples":0}]', "/telemetry/0/samples",
    "minimum", ">= 1" },
  { model '"telemetry":[{"name":"a","type":"binary","generator":{"type":"random"},"samples":65537}]', "/telemetry/0/samples",
    "maximum", "<= 65536" },
  { model '"telemetry":[{"name":"a","type":"binary","generator":{"type":"random"},"samples":1.5}]', "/telemetry/0/samples",
    "type", "an integer" },
  { model '"telemetry":[{"name":"a","type":"binary","generator":{"type":"random"},"sampleSize":12}]', "/telemetry/0/sampleSize",
    "enum", "8, 16, 32" },
  -- generator
  { attribute '"generator":1', "/telemetry/0/generator", "type", "an object" },
  { generator "", "/telemetry/0/generator", "required", '"type"' },
  { generator '"type":"unifrom"', "/telemetry/0/generator/type", "enum", 'did you mean "uniform"?' },
  { generator '"type":"uniform","max":1', "/telemetry/0/generator", "required", '"min" is missing (when type is "uniform")' },
  { generator '"type":"uniform","min":1', "/telemetry/0/generator", "required", '"max"' },
  { generator '"type":"uniform","min":"1","max":2', "/telemetry/0/generator/min", "type", "a number" },
  { generator '"type":"uniform","min":1,"max":null', "/telemetry/0/generator/max", "type", "is null" },
  { generator '"type":"uniform","min":1,"max":2,"maxx":3', "/telemetry/0/generator/maxx", "additionalProperties",
    'unknown key "maxx"; valid: type, min, max, anomalies; did you mean "max"? (when type is "uniform")' },
  { generator '"type":"normal","stddev":1', "/telemetry/0/generator", "required", '"mean"' },
  { generator '"type":"normal","mean":1', "/telemetry/0/generator", "required", '"stddev"' },
  { generator '"type":"normal","mean":"1","stddev":1', "/telemetry/0/generator/mean", "type", "a number" },
  { generator '"type":"normal","mean":1,"stddev":"1"', "/telemetry/0/generator/stddev", "type", "a number" },
  { generator '"type":"normal","mean":1,"stddev":-1', "/telemetry/0/generator/stddev", "minimum", ">= 0" },
  { generator '"type":"normal","mean":1,"stddev":1,"min":"0"', "/telemetry/0/generator/min", "type", "a number" },
  { generator '"type":"normal","mean":1,"stddev":1,"max":"0"', "/telemetry/0/generator/max", "type", "a number" },
  { generator '"type":"normal","mean":1,"stddev":1,"sd":1', "/telemetry/0/generator/sd", "additionalProperties", "valid: type, mean" },
  { generator '"type":"exponential"', "/telemetry/0/generator", "oneOf", 'exactly one of the keys "rate", "mean"' },
  { generator '"type":"exponential","rate":1,"mean":1', "/telemetry/0/generator", "oneOf", "there are 2" },
  { generator '"type":"exponential","rate":0', "/telemetry/0/generator/rate", "exclusiveMinimum", "> 0" },
  { generator '"type":"exponential","rate":"1"', "/telemetry/0/generator/rate", "type", "a number" },
  { generator '"type":"exponential","mean":0', "/telemetry/0/generator/mean", "exclusiveMinimum", "> 0" },
  { generator '"type":"exponential","mean":"1"', "/telemetry/0/generator/mean", "type", "a number" },
  { generator '"type":"exponential","mean":1,"min":"1"', "/telemetry/0/generator/min", "type", "a number" },
  { generator '"type":"exponential","mean":1,"max":"1"', "/telemetry/0/generator/max", "type", "a number" },
  { generator '"type":"exponential","mean":1,"lambda":1', "/telemetry/0/generator/lambda", "additionalProperties", "valid: type, rate" },
  { generator '"type":"walk"', "/telemetry/0/generator", "required", '"step" is missing (when type is "walk")' },
  { generator '"type":"walk","step":0', "/telemetry/0/generator/step", "exclusiveMinimum", "> 0" },
  { generator '"type":"walk","step":"1"', "/telemetry/0/generator/step", "type", "a number" },
  { generator '"type":"walk","step":1,"start":"1"', "/telemetry/0/generator/start", "type", "a number" },
  { generator '"type":"walk","step":1,"min":"1"', "/telemetry/0/generator/min", "type", "a number" },
  { generator '"type":"walk","step":1,"max":"1"', "/telemetry/0/generator/max", "type", "a number" },
  { generator '"type":"walk","step":1,"wrap":true', "/telemetry/0/generator/wrap", "additionalProperties", "valid: type, start" },
  { generator '"type":"choice"', "/telemetry/0/generator", "required", '"values"' },
  { generator '"type":"choice","values":[]', "/telemetry/0/generator/values", "minItems", "at least 1" },
  { generator('"type":"choice","values":[' .. ("1,"):rep(65536) .. "1]"), "/telemetry/0/generator/values", "maxItems", "65536" },
  { generator '"type":"choice","values":1', "/telemetry/0/generator/values", "type", "an array" },
  { generator '"type":"choice","values":[1],"weights":[-1]', "/telemetry/0/generator/weights/0", "minimum", ">= 0" },
  { generator '"type":"choice","values":[1],"weights":["1"]', "/telemetry/0/generator/weights/0", "type", "a number" },
  { generator '"type":"choice","values":[1],"weights":[]', "/telemetry/0/generator/weights", "minItems", "at least 1" },
  { generator '"type":"choice","values":[1],"weights":1', "/telemetry/0/generator/weights", "type", "an array" },
  { generator '"type":"choice","values":[1],"weight":[1]', "/telemetry/0/generator/weight", "additionalProperties", '"weights"' },
  { generator '"type":"sequence","values":[]', "/telemetry/0/generator/values", "minItems", "at least 1" },
  { generator '"type":"sequence","values":[1],"wrap":1', "/telemetry/0/generator/wrap", "type", "a boolean" },
  { generator '"type":"sequence","values":[1],"step":1', "/telemetry/0/generator/step", "additionalProperties", "valid: type, values" },
  { generator '"type":"sequence","stpe":1', "/telemetry/0/generator/stpe", "additionalProperties", 'did you mean "step"?' },
  { generator '"type":"random","maximum":1', "/telemetry/0/generator/maximum", "additionalProperties", "valid: type, min, max" },
  { generator '"type":"random","min":"1"', "/telemetry/0/generator/min", "type", "a number" },
  { generator '"type":"random","max":"1"', "/telemetry/0/generator/max", "type", "a number" },
  { generator '"type":"random","distribution":"gauss"', "/telemetry/0/generator/distribution", "enum", '"uniform", "normal"' },
  { generator '"type":"random","mean":"1"', "/telemetry/0/generator/mean", "type", "a number" },
  { generator '"type":"random","stddev":"1"', "/telemetry/0/generator/stddev", "type", "a number" },
  { generator '"type":"random","rate":"1"', "/telemetry/0/generator/rate", "type", "a number" },
  { generator '"type":"sequence","start":"1"', "/telemetry/0/generator/start", "type", "a number" },
  { generator '"type":"sequence","step":"1"', "/telemetry/0/generator/step", "type", "a number" },
  { generator '"type":"sequence","wrap":1', "/telemetry/0/generator/wrap", "type", "a boolean" },
  { generator '"type":"replay","dataFile":1', "/telemetry/0/generator/dataFile", "type", "a string" },
  { generator '"type":"replay","dataFile":"f.csv","loopReplay":1', "/telemetry/0/generator/loopReplay", "type", "a boolean" },
  { generator '"type":"custom","handler":1', "/telemetry/0/generator/handler", "type", "a string" },
  { generator '"type":"custom","handler":"h","params":1', "/telemetry/0/generator/params", "type", "an object" },
  -- command
  { command '"topic":"t"', "/commands/0", "required", '"name"' },
  { command '"name":"a b"', "/commands/0/name", "pattern", "a b" },
  { command '"name":1', "/commands/0/name", "type", "a string" },
  { command '"name":"a","topics":1', "/commands/0/topics", "additionalProperties", '"topic"' },
  { command '"name":"a","topic":1', "/commands/0/topic", "type", "a string" },
  { command '"name":"a","handler":1', "/commands/0/handler", "type", "a string" },
  { command '"name":"a","parameters":{}', "/commands/0/parameters", "type", "an array" },
  { command '"name":"a","parameters":[1]', "/commands/0/parameters/0", "type", "an object" },
  { command '"name":"a","parameters":[{"type":"number"}]', "/commands/0/parameters/0", "required", '"name"' },
  { command '"name":"a","parameters":[{"name":"p"}]', "/commands/0/parameters/0", "required", '"type"' },
  { command '"name":"a","parameters":[{"name":"","type":"number"}]', "/commands/0/parameters/0/name", "minLength", "1" },
  { command '"name":"a","parameters":[{"name":1,"type":"number"}]', "/commands/0/parameters/0/name", "type", "a string" },
  { command '"name":"a","parameters":[{"name":"p","type":"array"}]', "/commands/0/parameters/0/type", "enum", "integer" },
  { command '"name":"a","parameters":[{"name":"p","type":"number","required":1}]', "/commands/0/parameters/0/required", "type",
    "a boolean" },
  { command '"name":"a","parameters":[{"name":"p","type":"number","requird":true}]', "/commands/0/parameters/0/requird",
    "additionalProperties", 'did you mean "required"?' },
  { command '"name":"a","response":1', "/commands/0/response", "type", "an object" },
  { command '"name":"a","response":{"topic":1}', "/commands/0/response/topic", "type", "a string" },
  { command '"name":"a","response":{"template":1}', "/commands/0/response/template", "type", "an object or a string" },
  { command '"name":"a","response":{"payload":1}', "/commands/0/response/payload", "additionalProperties", "valid: topic, template" },
  -- behavior
  { model '"behaviors":[{"trigger":{"type":"startup"},"action":{"type":"log"}}]', "/behaviors/0", "required", '"name"' },
  { model '"behaviors":[{"name":"b","action":{"type":"log"}}]', "/behaviors/0", "required", '"trigger"' },
  { model '"behaviors":[{"name":"b","trigger":{"type":"startup"}}]', "/behaviors/0", "required", '"action"' },
  { model '"behaviors":[{"name":1,"trigger":{"type":"startup"},"action":{"type":"log"}}]', "/behaviors/0/name", "type", "a string" },
  { model '"behaviors":[{"name":"b","trigger":{"type":"startup"},"action":{"type":"log"},"enabled":1}]', "/behaviors/0/enabled",
    "type", "a boolean" },
  { model '"behaviors":[{"name":"b","trigger":{"type":"startup"},"action":{"type":"log"},"enable":true}]', "/behaviors/0/enable",
    "additionalProperties", 'did you mean "enabled"?' },
  { model '"behaviors":[{"name":"b","trigger":1,"action":{"type":"log"}}]', "/behaviors/0/trigger", "type", "an object" },
  { model '"behaviors":[{"name":"b","trigger":{"type":"startup"},"action":1}]', "/behaviors/0/action", "type", "an object" },
  { behavior("", log), "/behaviors/0/trigger", "required", '"type"' },
  { behavior('"type":"timer"', log), "/behaviors/0/trigger/type", "enum", "schedule" },
  { behavior(startup .. ',"cron":"x"', log), "/behaviors/0/trigger/cron", "additionalProperties", "valid: type, event" },
  { behavior('"type":"event","event":1', log), "/behaviors/0/trigger/event", "type", "a string" },
  { behavior('"type":"schedule","schedule":1', log), "/behaviors/0/trigger/schedule", "type", "a string" },
  { behavior('"type":"condition","condition":1', log), "/behaviors/0/trigger/condition", "type", "a string" },
  { behavior(startup, ""), "/behaviors/0/action", "required", '"type"' },
  { behavior(startup, '"type":"send"'), "/behaviors/0/action/type", "enum", "publish" },
  { behavior(startup, '"type":"log","text":"x"'), "/behaviors/0/action/text", "additionalProperties", "message" },
  { behavior(startup, '"type":"publish","topic":1'), "/behaviors/0/action/topic", "type", "a string" },
  { behavior(startup, '"type":"setState","state":1'), "/behaviors/0/action/state", "type", "an object" },
  { behavior(startup, '"type":"disconnect","duration":-1'), "/behaviors/0/action/duration", "minimum", ">= 0" },
  { behavior(startup, '"type":"disconnect","duration":"1s"'), "/behaviors/0/action/duration", "type", "an integer" },
  { behavior(startup, '"type":"log","message":1'), "/behaviors/0/action/message", "type", "a string" },
  { behavior(startup, '"type":"custom","handler":1'), "/behaviors/0/action/handler", "type", "a string" },
  { behavior(startup, '"type":"custom","handler":"h","params":1'), "/behaviors/0/action/params", "type", "an object" },
}

describe("a broken model", function()
  for _, case in ipairs(broken) do
    it("says so at " .. case[2] .. " (" .. case[3] .. ")", function()
      local errors = violations(case[1])
      assert.are.equal(1, #errors, case[1]:sub(1, 300) .. "\n" .. jsonschema.format(errors))
      local e = errors[1]
      assert.are.equal(case[2], e.pointer)
      assert.are.equal(case[3], e.rule)
      assert.is_truthy(e.message:find(case[4], 1, true), e.message)
      assert.are.equal(1, e.line)
    end)
  end

  it("has its place also behind empty lines", function()
    assert.are.equal("3 1", violations("\n\n[]")[1].line .. " " .. violations("\n\n[]")[1].column)
  end)

  it("says everything at once", function()
    local errors = violations('{\n"id": "1",\n"name": "",\n"telemetry": [\n{"name": "a", "type": "number",\n"generator": '
      .. '{"type": "walk"},\n"intervalMs": 5}],\n"colour": 1}')
    local lines = {}
    for i, e in ipairs(errors) do
      lines[i] = e.line .. " " .. e.pointer
    end
    assert.are.same({ "1 ", "1 ", "2 /id", "3 /name", "6 /telemetry/0/generator", "7 /telemetry/0/intervalMs", "8 /colour" }, lines)
  end)
end)
