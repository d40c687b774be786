-- luacheck: no max line length (JSON documents)
-- Every rule of the model schema, broken once. The schema is walked together with valid documents; wherever a keyword applies to
-- some value, that value is broken in the way the keyword forbids, and exactly that violation must come out. A rule that no document
-- reaches is a failure too: then the documents below are too few.

local root = debug.getinfo(1, "S").source:match("^@(.*)tests/spec/[^/]*$") or "./"
package.path = root .. "lua/?.lua;" .. package.path

local json = require "iotix._core.json"
local jsonschema = require "iotix._core.jsonschema"

local function decode(text)
  local value, problem = json.decode(text)
  assert(value ~= nil, tostring(problem) .. "\n" .. text)
  return value
end

local file = assert(io.open(root .. "models/schema/device-model.schema.json", "rb"))
local schema = decode(file:read("*a"))
file:close()
local validator = assert(jsonschema.compile(schema))

local function compile_part(part)
  return assert(jsonschema.compile({ definitions = schema.definitions, allOf = json.array { part } }))
end

-- Documents that use every key -----------------------------------------------------------------------------------------------

local anomalies = [=["anomalies":[{"type":"spike","magnitude":5,"relative":true,"probability":0.1,"durationMs":5},
  {"type":"drift","perSecond":1,"everyMs":1000},{"type":"stuck","atMs":5},{"type":"dropout","probability":1},
  {"type":"noise","stddev":1,"probability":0}]]=]

local published = [["min":0,"max":1,"distribution":"normal","mean":1,"stddev":1,"rate":1,"start":0,"step":1,"wrap":true,"value":1,
  "dataFile":"f.csv","loopReplay":true,"handler":"h","params":{}]]

local generators = {
  '"type":"random",' .. published, '"type":"constant",' .. published, '"type":"custom",' .. published,
  '"type":"sequence","direction":"down",' .. published,
  '"type":"replay",' .. published .. [[,"column":"c","timeColumn":"t","timing":"original","speed":2,"offset":"index","format":"csv",
    "chunk":8]],
  '"type":"uniform","min":0,"max":1', '"type":"normal","mean":0,"stddev":1,"min":0,"max":1', '"type":"exponential","rate":1,"min":0,"max":1',
  '"type":"exponential","mean":1', '"type":"lognormal","mu":1,"sigma":1,"min":0,"max":9', '"type":"lognormal","mean":1,"stddev":1',
  '"type":"poisson","mean":1,"min":0,"max":9', '"type":"weibull","shape":1,"scale":1,"min":0,"max":9',
  '"type":"walk","start":1,"step":1,"min":0,"max":9', '"type":"ou","mean":1,"reversion":1,"volatility":1,"start":1,"min":0,"max":9',
  '"type":"sine","mean":1,"amplitude":1,"periodMs":1,"phase":0.5,"noise":1,"min":0,"max":9',
  [["type":"seasonal","base":1,"daily":{"amplitude":1,"peakHour":3},"weekly":[1,1,1,1,1,1,1],"noise":1,"utcOffsetMinutes":60,"min":0,
    "max":9]],
  '"type":"step","values":[1],"holdMs":1', '"type":"square","low":0,"high":1,"periodMs":1,"duty":0.5,"phase":0',
  '"type":"saw","min":0,"max":1,"periodMs":1,"phase":0,"falling":true', '"type":"triangle","min":0,"max":1,"periodMs":1,"phase":0',
  '"type":"markov","states":[1],"transitions":[[1]],"start":0', '"type":"choice","values":[1],"weights":[1]',
  '"type":"sequence","values":[1],"wrap":true,"direction":"up"', '"type":"correlated","expression":"a","noise":0,"min":0,"max":1',
  '"type":"gps","route":[[1,2,3]],"speedKmh":1,"loop":true,"noiseMeters":1,"offset":"none"', '"type":"gps","routeFile":"f","speedKmh":1',
  '"type":"object","properties":{"a":{"type":"uniform","min":0,"max":1}}', '"type":"array","items":{"type":"uniform","min":0,"max":1},"length":1',
  '"type":"array","items":{"type":"uniform","min":0,"max":1},"minLength":1,"maxLength":2',
}

local encodings = {
  '"json"', '{"type":"json","timestamp":true}', '{"type":"cbor","timestamp":true}', '{"type":"binary","endian":"big","timestamp":true}',
  '{"type":"csv","delimiter":";","timestamp":true,"header":true}', '{"type":"influx","measurement":"m","tags":{"a":"b"},"precision":"s"}',
  '{"type":"sparkplug","groupId":"g","nodeId":"n"}', '{"type":"lua","handler":"h"}',
}

local head = '"id":"m","name":"M","protocol":"mqtt"'
local documents = {
  "{" .. head .. [[,"type":"sensor","$schema":"s","description":"d","version":"1.0.0","payload":"p","metadata":{},"connection":{"broker":"b",
    "port":1,"tls":true,"clientIdPattern":"c","topicPattern":"t","qos":1,"keepAlive":1,"cleanSession":true,"username":"u","passwordRef":"p"}}]],
  '{"id":"m","extends":"other@1.2"}',
  "{" .. head .. [[,"type":"sensor","telemetry":[{"name":"a","type":"binary","unit":"u","generator":{"type":"random"},"intervalMs":100,
    "topic":"t","precision":1,"format":"u8","samples":1,"sampleSize":8,"signed":true,"endian":"big"},
    {"name":"b","type":"number","generator":{"type":"random"}}]}]],
  "{" .. head .. [[,"type":"actuator","commands":[{"name":"c","topic":"t","handler":"h","timeoutMs":1,"response":{"topic":"t","template":{}},
    "parameters":[{"name":"p","type":"number","required":true,"min":0,"max":1,"values":[1]}]}]}]],
  "{" .. head .. [[,"type":"custom","behaviors":[
    {"name":"a","enabled":true,"trigger":{"type":"event","event":"e","schedule":"s","timeZone":"z","condition":"c","reset":"r","forMs":1,
      "cooldownMs":1},"action":{"type":"publish","topic":"t","payload":1,"duration":1,"message":"m"}},
    {"name":"b","trigger":{"type":"schedule","schedule":"s"},"action":{"type":"setState","state":{}}},
    {"name":"c","trigger":{"type":"condition","condition":"c"},"action":{"type":"custom","handler":"h","params":{}}},
    {"name":"d","trigger":{"type":"startup"},"action":{"type":"fail","failure":"slow","params":{"delayMs":1}}},
    {"name":"e","trigger":{"type":"startup"},"action":{"type":"fail","failure":"disconnect","params":{"mode":"clean"}}},
    {"name":"f","trigger":{"type":"startup"},"action":{"type":"fail","failure":"errorPayload","params":{"mode":"any"}}},
    {"name":"g","trigger":{"type":"startup"},"action":{"type":"fail","failure":"clockDrift","params":{"offsetMs":-1,"ppm":5}}},
    {"name":"h","trigger":{"type":"startup"},"action":{"type":"fail","failure":"batteryDrain","params":{"attribute":"a","perSecond":1,"from":9,
      "rebootMs":1}}},
    {"name":"i","trigger":{"type":"startup"},"action":{"type":"fail","failure":"reboot","params":{"bootMs":1,"sequence":[1]}}},
    {"name":"j","trigger":{"type":"startup"},"action":{"type":"fail","failure":"staleToken","params":{"token":"t"}}},
    {"name":"k","trigger":{"type":"startup"},"action":{"type":"fail","failure":"duplicateId","params":{}}}]}]],
  "{" .. head .. [[,"type":"gateway","children":[{"model":"m","count":1,"idPattern":"i","topicPattern":"t"}],
    "aggregation":{"mode":"batch","intervalMs":100,"maxMessages":1,"topic":"t"}}]],
  "{" .. head .. [[,"type":"proxy","proxy":{"source":"mqtt","broker":"b","topic":"t","qos":1,
    "silentAfterMs":1,"commands":"c"}}]],
  "{" .. head .. [[,"type":"proxy","proxy":{"source":"coap","url":"coap://h/t"}}]],
  "{" .. head .. [[,"type":"proxy","proxy":{"source":"http","path":"/p","listen":"h:1"}}]],
}
for _, generator in ipairs(generators) do
  documents[#documents + 1] = "{" .. head .. ',"type":"sensor","telemetry":[{"name":"a","type":"number","generator":{' .. generator .. ","
    .. anomalies .. "}}]}"
end
for _, encoding in ipairs(encodings) do
  documents[#documents + 1] = "{" .. head .. ',"type":"sensor","encoding":' .. encoding .. "}"
end

-- Walking schema and document together ----------------------------------------------------------------------------------------

local function resolve(node, place)
  while json.type(node) == "object" and node["$ref"] do
    place = node["$ref"]:sub(2)
    node = schema
    for token in place:gmatch("/([^/]+)") do node = node[token] end
  end
  return node, place
end

local compiled = {}
local function holds(condition, value)
  compiled[condition] = compiled[condition] or compile_part(condition)
  return (compiled[condition]:validate(value))
end

-- Calls f(schema node, place of it, path of keys into the document) wherever the schema applies to the document.
local function walk(node, place, value, path, f)
  node, place = resolve(node, place)
  if json.type(node) ~= "object" then
    return
  end
  f(node, place, path)
  local function below(key)
    local copy = {}
    for i = 1, #path do copy[i] = path[i] end
    copy[#copy + 1] = key
    return copy
  end
  if json.type(value) == "object" then
    for key, sub in pairs(value) do
      local property = node.properties and node.properties[key]
      if property ~= nil then
        walk(property, place .. "/properties/" .. key, sub, below(key), f)
      elseif json.type(node.additionalProperties) == "object" then
        walk(node.additionalProperties, place .. "/additionalProperties", sub, below(key), f)
      end
    end
  elseif json.type(value) == "array" and node.items then
    for i = 1, #value do walk(node.items, place .. "/items", value[i], below(i), f) end
  end
  for i, part in ipairs(node.allOf or {}) do walk(part, place .. "/allOf/" .. i - 1, value, path, f) end
  if node["if"] then
    local name = holds(node["if"], value) and "then" or "else"
    if node[name] then walk(node[name], place .. "/" .. name, value, path, f) end
  end
end

local function copy_of(value)
  if json.type(value) == "array" then
    local out = json.array()
    for i = 1, #value do out[i] = copy_of(value[i]) end
    return out
  elseif json.type(value) == "object" and value ~= json.null then
    local out, keys = {}, json.keys(value)
    for _, key in ipairs(keys) do out[key] = copy_of(value[key]) end
    return json.object(out, keys)
  end
  return value
end

local function pointer_of(path)
  local text = ""
  for _, key in ipairs(path) do text = text .. "/" .. json.escape_pointer(type(key) == "number" and key - 1 or key) end
  return text
end

local of_type = { string = "text", number = 0.5, integer = 1, boolean = true, array = json.array(), object = json.object(), null = json.null }

local function other_type(types)
  local taken = {}
  for _, t in ipairs(type(types) == "table" and types or { types }) do
    taken[t] = true
    taken[t == "number" and "integer" or t] = true
  end
  for _, t in ipairs { "boolean", "string", "object" } do
    if not taken[t] then return of_type[t] end
  end
end

-- Good values of keys that are refused where they stand.
local elsewhere = { samples = 1, sampleSize = 8, signed = true, endian = "big", children = json.array(), aggregation = json.object(),
  proxy = json.object { topic = "t" }, topic = "t", broker = "b", commands = "c", qos = 1, url = "coap://h", path = "/", listen = "h:1" }

-- Keyword → function(keyword's value, the value it applies to, schema node) → list of { broken value | nil, key that is wrong | nil,
-- rule when it is another than the keyword }. The value may be changed in place.
local breakers = {
  type = function(types) return { { other_type(types) } } end,
  enum = function() return { { "no such word" } } end,
  pattern = function() return { { "!!" } } end,
  minimum = function(limit) return { { limit - 1 } } end,
  maximum = function(limit) return { { limit + 1 } } end,
  exclusiveMinimum = function(limit) return { { limit } } end,
  minLength = function(n) return { { ("x"):rep(n - 1) } } end,
  maxLength = function(n) return { { ("x"):rep(n + 1) } } end,
  minItems = function(n, value)
    local short = json.array()
    for i = 1, n - 1 do short[i] = value[i] end
    return { { short } }
  end,
  maxItems = function(n, value)
    local long = json.array()
    for i = 1, n + 1 do long[i] = value[1] end
    return { { long } }
  end,
  required = function(names, value)
    local cases = {}
    for _, name in ipairs(names) do
      local without = copy_of(value)
      without[name] = nil
      cases[#cases + 1] = { without, nil, nil, name }
    end
    return cases
  end,
  additionalProperties = function(allowed, value)
    if allowed ~= false then return {} end
    local more = copy_of(value)
    more.zzz = 1
    return { { more, "zzz" } }
  end,
  oneOf = function(branches, value, node)
    local without = copy_of(value)
    for _, branch in ipairs(branches) do
      for _, name in ipairs(branch.required) do
        without[name] = nil
        for key, needed in pairs(node.dependencies or {}) do
          if needed[1] == name then without[key] = nil end
        end
      end
    end
    return { { without } }
  end,
  dependencies = function(needs, value, node)
    local cases = {}
    for _, key in ipairs(json.keys(needs)) do
      local without = copy_of(value)
      if value[key] ~= nil then
        local needed = needs[key][1]
        without[needed] = nil
        -- Where one of several keys must be there and this was it, another one takes its place.
        local alternative
        for _, branch in ipairs(node.oneOf) do
          if branch.required[1] ~= needed then alternative = branch.required[1] end
        end
        if key ~= "mu" and key ~= "mean" then
          without[alternative] = 1
          for _, also in ipairs(needs[alternative] or {}) do without[also] = 1 end
        end
        cases[#cases + 1] = { without, nil, nil, key }
      end
    end
    return cases
  end,
  properties = function(properties)
    local cases = {}
    for _, key in ipairs(json.keys(properties)) do
      if properties[key] == false then cases[#cases + 1] = { function(value) value[key] = elsewhere[key] end, key, "false", key } end
    end
    return cases
  end,
}

-- Whether the keyword looks at such a value at all.
local looks_at = { minimum = "number", maximum = "number", exclusiveMinimum = "number", minLength = "string", maxLength = "string",
  pattern = "string", minItems = "array", maxItems = "array", required = "object", additionalProperties = "object", oneOf = "object",
  dependencies = "object", properties = "object" }

-- Every rule of the schema as "place/keyword" (and "/name" where a keyword holds several), by walking the schema alone.
local function all_rules()
  local rules = {}
  local function visit(node, place)
    if json.type(node) ~= "object" then return end
    for keyword in pairs(breakers) do
      local what = node[keyword]
      if keyword == "required" then
        for _, name in ipairs(what or {}) do rules[place .. "/required/" .. name] = true end
      elseif keyword == "dependencies" then
        for name in pairs(what or {}) do rules[place .. "/dependencies/" .. name] = true end
      elseif keyword == "properties" then
        for name, sub in pairs(what or {}) do
          if sub == false then rules[place .. "/properties/" .. name] = true end
        end
      elseif keyword == "additionalProperties" then
        if what == false then rules[place .. "/" .. keyword] = true end
      elseif what ~= nil then
        rules[place .. "/" .. keyword] = true
      end
    end
    for _, key in ipairs { "properties", "definitions" } do
      for name, sub in pairs(node[key] or {}) do visit(sub, place .. "/" .. key .. "/" .. name) end
    end
    for _, key in ipairs { "items", "additionalProperties", "then", "else" } do visit(node[key], place .. "/" .. key) end
    for i, sub in ipairs(node.allOf or {}) do visit(sub, place .. "/allOf/" .. i - 1) end
  end
  visit(schema, "")
  -- publishedGenerator and anomalyTiming only lend their keys: their places are reached by reference
  return rules
end

local function at(document, path, n)
  for i = 1, n do document = document[path[i]] end
  return document
end

describe("every rule of the schema", function()
  local broken, cases = {}, 0

  it("is broken by some document, with exactly that violation", function()
    for _, text in ipairs(documents) do
      local document = decode(text)
      local ok, errors = validator:validate(document)
      assert.is_true(ok, text .. "\n" .. jsonschema.format(errors))
      walk(schema, "", document, {}, function(node, place, path)
        local value = at(document, path, #path)
        for keyword, breaker in pairs(breakers) do
          if node[keyword] ~= nil and (not looks_at[keyword] or looks_at[keyword] == json.type(value)) then
            for _, case in ipairs(breaker(node[keyword], value, node)) do
              local rule = place .. "/" .. keyword .. (case[4] and "/" .. case[4] or "")
              if not broken[rule] then
                local changed = copy_of(document)
                if type(case[1]) == "function" then
                  case[1](at(changed, path, #path))
                elseif #path == 0 then
                  changed = case[1]
                else
                  at(changed, path, #path - 1)[path[#path]] = case[1]
                end
                local pointer = pointer_of(path) .. (case[2] and "/" .. case[2] or "")
                local _, found = validator:validate(changed)
                local wanted = case[3] or keyword
                cases = cases + 1
                -- An enumeration of types hides what hangs on the type; everything else speaks alone.
                assert.are.equal(1, #found, rule .. "\n" .. json.encode(changed):sub(1, 600) .. "\n" .. jsonschema.format(found))
                assert.are.equal(wanted, found[1].rule, rule .. "\n" .. jsonschema.format(found))
                assert.are.equal(pointer, found[1].pointer, rule)
                broken[rule] = true
              end
            end
          end
        end
      end)
    end
    assert.is_true(cases > 300, cases .. " cases")
  end)

  it("is reached", function()
    local missed = {}
    for rule in pairs(all_rules()) do
      if not broken[rule] then missed[#missed + 1] = rule end
    end
    table.sort(missed)
    assert.are.equal("", table.concat(missed, "\n"))
  end)
end)
