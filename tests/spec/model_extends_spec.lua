-- luacheck: no max line length (JSON documents)
-- extends, versions and where problems of merged models point to, on a file system that is a Lua table.

local root = debug.getinfo(1, "S").source:match("^@(.*)tests/spec/[^/]*$") or "./"
package.path = root .. "lua/?.lua;" .. package.path

local files = {}    -- path → text
local dirs = { ".", "models", "lib" }
local function schema_text()
  local f = assert(io.open(root .. "models/schema/device-model.schema.json", "rb"))
  local text = f:read("*a")
  f:close()
  return text
end
local text_of_schema = schema_text()
local parsed -- what C was last asked to parse
local c_says -- what it answers, nil: fine

local function clean(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." and #parts > 0 and parts[#parts] ~= ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

local fake = {
  embedded = function() return text_of_schema end,
  model_places = function(near)
    local list = { near or "." }
    for _, dir in ipairs(dirs) do list[#list + 1] = dir end
    return list
  end,
  model_read = function(path)
    if files[clean(path)] then return files[clean(path)] end
    return nil, path .. ": no such file", "not_found"
  end,
  model_names = function(dir)
    local names = {}
    for path in pairs(files) do
      local inside = path:match("^(.*)/[^/]*$") or "."
      if inside == clean(dir) or (inside == "." and clean(dir) == "") then names[#names + 1] = path:match("[^/]*$") end
    end
    table.sort(names)
    return names
  end,
  model_real = function(path) return files[clean(path)] and "/" .. clean(path) or nil end,
  model_parse = function(text, path)
    parsed = { text = text, path = path }
    if c_says then return nil, path .. ": " .. c_says end
    return true
  end,
}

local saved = {}
local names = { "iotix._core.native", "iotix._core.model", "iotix._core.model_find" }
local model, find, json

setup(function()
  for _, name in ipairs(names) do saved[name], package.loaded[name] = package.loaded[name], nil end
  package.loaded["iotix._core.native"] = fake
  model, find, json = require "iotix._core.model", require "iotix._core.model_find", require "iotix._core.json"
end)
teardown(function()
  for _, name in ipairs(names) do package.loaded[name] = saved[name] end
end)
before_each(function()
  for path in pairs(files) do files[path] = nil end
  c_says, parsed = nil, nil
end)

local BASE = [[{
  "id": "base", "name": "Base", "type": "sensor", "protocol": "mqtt", "version": "2.1.0",
  "description": "the base",
  "connection": { "qos": 0, "keepAlive": 30 },
  "telemetry": [
    { "name": "a", "type": "number", "generator": { "type": "walk", "step": 1, "min": 0, "max": 9 } },
    { "name": "b", "type": "integer", "generator": { "type": "choice", "values": [1, 2], "weights": [1, 1] } }
  ],
  "metadata": { "maker": "x", "tags": ["p", "q"] }
}]]

local function check(path)
  local problems, doc = model.check(path, files[path])
  local lines = {}
  for i, p in ipairs(problems) do lines[i] = p.file .. ":" .. p.line .. ":" .. p.column .. " " .. p.pointer .. " " .. p.rule .. " " .. p.message end
  return doc, table.concat(lines, "\n"), problems
end

local function good(path)
  local doc, problems = check(path)
  assert.are.equal("", problems)
  return doc
end

describe("a model that extends another", function()
  it("has everything of it but what it says itself", function()
    files["models/base.json"] = BASE
    files["models/m.json"] = [[{ "extends": "base", "id": "m", "name": "M", "connection": { "qos": 2, "username": "u" },
      "telemetry": [ { "name": "c", "type": "string", "generator": { "type": "constant", "value": "v" } },
                     { "name": "a", "intervalMs": 500, "generator": { "max": 5 } } ],
      "metadata": { "tags": ["r"] } }]]
    local doc = good("models/m.json")
    assert.is_nil(doc.extends)
    assert.are.equal("m", doc.id)
    assert.is_nil(doc.version, "the version is the base's own")
    assert.are.equal("the base", doc.description)
    assert.are.equal('{"qos":2,"keepAlive":30,"username":"u"}', json.encode(doc.connection))
    assert.are.equal('{"name":"a","type":"number","generator":{"type":"walk","step":1,"min":0,"max":5},"intervalMs":500}', json.encode(doc.telemetry[1]))
    assert.are.equal("b", doc.telemetry[2].name)
    assert.are.equal("c", doc.telemetry[3].name)
    assert.are.equal('{"maker":"x","tags":["r"]}', json.encode(doc.metadata))
    assert.are.equal(json.encode(doc), parsed.text)
    assert.are.equal(BASE, files["models/base.json"])
  end)

  it("replaces a generator of another type, and keeps the rest of one of the same", function()
    files["base.json"] = BASE
    files["m.json"] = [[{ "extends": "./base.json", "id": "m", "telemetry": [ { "name": "a", "generator": { "type": "uniform", "min": 1, "max": 2 } },
      { "name": "b", "type": "number", "generator": { "type": "choice", "weights": [1, 3] } } ] }]]
    local doc = good("m.json")
    assert.are.equal('{"type":"uniform","min":1,"max":2}', json.encode(doc.telemetry[1].generator))
    assert.are.equal('{"type":"choice","values":[1,2],"weights":[1,3]}', json.encode(doc.telemetry[2].generator))
    assert.are.equal("number", doc.telemetry[2].type)
  end)

  it("removes with null, also what is not there", function()
    files["base.json"] = BASE
    files["m.json"] = [[{ "extends": "./base.json", "id": "m", "description": null, "payload": null, "connection": { "keepAlive": null },
      "metadata": null, "telemetry": [ { "name": "b", "generator": { "weights": null } } ] }]]
    local doc = good("m.json")
    assert.is_nil(doc.description)
    assert.is_nil(doc.payload)
    assert.is_nil(doc.metadata)
    assert.are.equal('{"qos":0}', json.encode(doc.connection))
    assert.are.equal('{"type":"choice","values":[1,2]}', json.encode(doc.telemetry[2].generator))
    files["n.json"] = '{ "extends": "./base.json", "id": "n", "telemetry": [] }'
    assert.are.equal("[]", json.encode(good("n.json").telemetry))
  end)

  it("builds on what builds on another", function()
    files["base.json"] = BASE
    files["mid.json"] = '{ "extends": "./base.json", "id": "mid", "connection": { "qos": 1 } }'
    files["m.json"] = '{ "extends": "./mid.json", "id": "m", "connection": { "keepAlive": 5 } }'
    assert.are.equal('{"qos":1,"keepAlive":5}', json.encode(good("m.json").connection))
  end)

  it("may rest on a model that is no good alone", function()
    files["base.json"] = '{ "connection": { "qos": 1 }, "protocol": "mqtt" }'
    files["m.json"] = '{ "extends": "./base.json", "id": "m", "name": "M", "type": "sensor" }'
    assert.are.equal(1, good("m.json").connection.qos)
  end)

  it("needs an id of its own", function()
    files["base.json"] = BASE
    files["m.json"] = '{ "extends": "./base.json" }'
    local _, problems = check("m.json")
    assert.are.equal('m.json:1:1  required required key "id" is missing', problems)
  end)

  it("takes data files from where they lie", function()
    files["lib/base.json"] = BASE:gsub('"generator": { "type": "walk"[^}]*}', '"generator": { "type": "replay", "dataFile": "data/x.csv" }')
    files["lib/data/x.csv"] = "a\n1\n"
    files["m.json"] = '{ "extends": "base", "id": "m" }'
    assert.are.equal("/lib/data/x.csv", good("m.json").telemetry[1].generator.dataFile)
  end)
end)

describe("a problem of a merged model", function()
  it("is told where the key was written", function()
    files["models/base.json"] = BASE:gsub('"keepAlive": 30', '"keepAlive": 99999'):gsub('"step": 1', '"stpe": 1')
    files["m.json"] = '{\n  "extends": "base",\n  "id": "m",\n  "connection": { "qos": 3 },\n  "telemetry": [{ "name": "b", "generator": { "weights": "x" } }]\n}'
    local _, problems = check("m.json")
    assert.are.equal(table.concat({
      'm.json:4:26 /connection/qos maximum must be <= 2, is 3',
      'm.json:5:58 /telemetry/1/generator/weights type must be an array, is the string "x" (when type is "choice")',
      'models/base.json:4:42 /connection/keepAlive maximum must be <= 65535, is 99999',
      'models/base.json:6:51 /telemetry/0/generator required required key "step" is missing (when type is "walk")',
      'models/base.json:6:69 /telemetry/0/generator/stpe additionalProperties unknown key "stpe"; valid: type, start, step, min, max, anomalies; did you mean "step"? (when type is "walk")',
    }, "\n"), problems)
  end)

  it("of C is told there too", function()
    files["base.json"] = BASE
    files["m.json"] = '{ "extends": "./base.json", "id": "m" }'
    c_says = "/telemetry/1/generator: weights: sum to 0"
    local _, problems = check("m.json")
    assert.are.equal("base.json:7:52 /telemetry/1/generator model weights: sum to 0", problems)
    c_says = "out of memory"
    _, problems = check("m.json")
    assert.are.equal("m.json:1:1  model out of memory", problems)
  end)

  it("with a base that is no JSON, no object, or not there, is told", function()
    files["base.json"] = '{ "id": }'
    files["m.json"] = '{ "extends": "./base.json", "id": "m" }'
    local _, problems = check("m.json")
    assert.are.equal("base.json:1:9  json expected a value, found '}'", problems)
    files["base.json"] = "[]"
    _, problems = check("m.json")
    assert.are.equal("m.json:1:14 /extends extends what it extends is no object", problems)
    files["m.json"] = '{ "extends": "nowhere", "id": "m" }'
    _, problems = check("m.json")
    assert.is_truthy(problems:find('m.json:1:14 /extends extends model "nowhere" was not found; looked at ', 1, true), problems)
    files["m.json"] = '{ "extends": 7, "id": "m" }'
    _, problems = check("m.json")
    assert.is_truthy(problems:find("/extends extends must be the id of a model", 1, true), problems)
  end)

  it("that extends itself names the circle", function()
    files["a.json"] = '{ "extends": "./b.json", "id": "a" }'
    files["b.json"] = '{ "extends": "./c.json", "id": "b" }'
    files["c.json"] = '{ "extends": "./b.json", "id": "c" }'
    local _, problems = check("a.json")
    assert.are.equal("c.json:1:14 /extends extends models that extend each other in a circle: b.json → c.json → b.json", problems)
    files["d.json"] = '{ "extends": "./d.json", "id": "d" }'
    _, problems = check("d.json")
    assert.is_truthy(problems:find("circle: d.json → d.json", 1, true), problems)
  end)

  it("ends a chain that is too long", function()
    files["m0.json"] = BASE
    for i = 1, 16 do files["m" .. i .. ".json"] = string.format('{ "extends": "./m%d.json", "id": "m%d" }', i - 1, i) end
    good("m16.json")
    files["m17.json"] = '{ "extends": "./m16.json", "id": "m17" }'
    local _, problems = check("m17.json")
    assert.is_truthy(problems:find("more than 16 models that extend each other, beginning with m17.json", 1, true), problems)
  end)

  it("that names Python says what to write", function()
    for _, handler in ipairs { "pkg.module:Class", "handlers.py", "a.b.c" } do
      files["m.json"] = '{ "id": "m", "name": "M", "type": "sensor", "protocol": "mqtt", "telemetry": [{ "name": "a", "type": "number",'
        .. '"generator": { "type": "custom", "handler": "' .. handler .. '", "params": { "handler": "x.py" } } }] }'
      local _, text, problems = check("m.json")
      assert.are.equal(1, #problems, text)
      assert.are.equal("/telemetry/0/generator/handler", problems[1].pointer)
      assert.is_truthy(problems[1].message:find("looks like Python", 1, true))
      assert.is_truthy(problems[1].hint:find("module.function", 1, true))
    end
  end)
end)

describe("a reference with a version", function()
  local function version(v, extra)
    return '{ "id": "valve", "name": "V", "type": "sensor", "protocol": "mqtt"' .. (v and ', "version": "' .. v .. '"' or "") .. (extra or "") .. " }"
  end
  local function resolves(reference, from)
    local path, problem = find.resolve(reference, from)
    return path or problem
  end

  it("is the highest that matches", function()
    files["models/valve.json"] = version "1.2.0"
    files["models/valve@1.2.9.json"] = version "1.2.9"
    files["lib/valve@1.10.0.json"] = version "1.10.0"
    files["lib/valve@2.0.0.json"] = version "2.0.0"
    files["lib/valve@old.json"] = version(nil)
    assert.are.equal("models/valve.json", resolves "valve")
    assert.are.equal("lib/valve@1.10.0.json", resolves "valve@1")
    assert.are.equal("models/valve@1.2.9.json", resolves "valve@1.2")
    assert.are.equal("models/valve.json", resolves "valve@1.2.0")
    assert.are.equal("lib/valve@old.json", resolves "valve@1.0.0")
    assert.are.equal("lib/valve@2.0.0.json", resolves "valve@2")
    assert.are.equal("was not found; there are 1.2.0 (models/valve.json), 1.2.9 (models/valve@1.2.9.json), 1.10.0 (lib/valve@1.10.0.json), "
      .. "2.0.0 (lib/valve@2.0.0.json), 1.0.0 (lib/valve@old.json)", resolves "valve@3")
    files["models/valve.json"] = nil
    assert.are.equal("lib/valve@2.0.0.json", resolves "valve")
  end)

  it("looks at what is inside, not at the name of the file", function()
    files["models/valve@1.0.0.json"] = version "1.0.5"
    files["lib/valve@9.json"] = '{ "id": "other" }'
    files["lib/valve@8.json"] = "{"
    assert.are.equal("models/valve@1.0.0.json", resolves "valve@1.0.5")
    assert.is_truthy(resolves("valve@9"):find("there are 1.0.5", 1, true))
    files["models/valve@1.0.0.json"] = nil
    assert.is_truthy(resolves("valve@1"):find("lib/valve@8.json cannot be read, lib/valve@9.json has another id", 1, true), resolves "valve@1")
  end)

  it("is refused when two different files claim it", function()
    files["models/valve.json"] = version "1.2.0"
    files["lib/valve@1.2.json"] = version "1.2.0"
    assert.are.equal("models/valve.json", resolves "valve@1.2") -- the same bytes: no matter
    files["lib/valve@1.2.json"] = version("1.2.0", ', "description": "another"')
    assert.are.equal("is ambiguous: version 1.2.0 is in models/valve.json and in lib/valve@1.2.json, which differ; name one by its path, or give one "
      .. "another version", resolves "valve@1.2")
  end)

  it("is read by scenarios and by extends", function()
    files["lib/valve@1.2.0.json"] = version("1.2.0", ', "connection": { "qos": 2 }')
    files["m.json"] = '{ "extends": "valve@1", "id": "m" }'
    assert.are.equal(2, good("m.json").connection.qos)
    local path, text, doc = model.load("valve@1.2", "iotix.group")
    assert.are.equal("lib/valve@1.2.0.json", path)
    assert.are.equal("1.2.0", doc.version)
    assert.is_truthy(text:find('"qos":2', 1, true))
    assert.has_error(function() model.load("valve@7", "iotix.group") end,
      'iotix.group: model "valve@7" was not found; there are 1.2.0 (lib/valve@1.2.0.json)')
  end)

  it("must be one", function()
    for _, bad in ipairs { "valve@", "valve@x", "valve@1.2.3.4", "valve@^1", "valve@1." } do
      assert.is_truthy(resolves(bad):find("behind @ comes a version such as 1, 1.2 or 1.2.0", 1, true), bad)
    end
    for _, bad in ipairs { "", "../x", "a/../b", ("x"):rep(300), "a\nb" } do
      assert.is_truthy(resolves(bad):find("is no reference to a model", 1, true), bad)
    end
  end)
end)

describe("the children of a gateway", function()
  local function gateway(child)
    return '{ "id": "g", "name": "G", "type": "gateway", "protocol": "mqtt",\n "children": [{ "model": "' .. child .. '", "count": 2 }] }'
  end

  it("come with their models, merged and checked", function()
    files["models/base.json"] = BASE
    files["lib/leaf.json"] = '{ "extends": "base", "id": "leaf", "connection": { "qos": 2 } }'
    files["g.json"] = gateway "leaf"
    local doc = good("g.json")
    assert.are.equal("leaf", doc.children[1].model)
    local sent = json.decode(parsed.text)
    assert.are.equal("leaf", sent.children[1].model.id)
    assert.are.equal(2, sent.children[1].model.connection.qos)
    assert.are.equal(2, sent.children[1].count)
    files["lib/leaf.json"] = '{ "extends": "base", "id": "leaf", "connection": { "qos": 5 } }'
    local _, problems = check("g.json")
    assert.are.equal("lib/leaf.json:1:59 /connection/qos maximum must be <= 2, is 5", problems)
  end)

  it("must be there, and no gateways", function()
    files["g.json"] = gateway "nothing"
    local _, problems = check("g.json")
    assert.is_truthy(problems:find('g.json:2:26 /children/0/model model model "nothing" was not found', 1, true), problems)
    files["g.json"] = gateway "./h.json"
    files["h.json"] = '{ "id": "h", "name": "H", "type": "gateway", "protocol": "mqtt" }'
    _, problems = check("g.json")
    assert.is_truthy(problems:find("is a gateway; a child is a sensor, an actuator or custom", 1, true), problems)
    files["g.json"] = gateway "./g.json"
    _, problems = check("g.json")
    assert.is_truthy(problems ~= "", "a gateway that is its own child ends")
  end)
end)
