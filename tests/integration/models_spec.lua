-- luacheck: no max line length
-- Models through the program: check, show, list; versions and passwords in scenarios; every example runs.
local proc = require "integration.proc"
local cjson = require "cjson"

local HEAD = '"id": "%s", "name": "N", "type": "sensor", "protocol": "mqtt"'
local function model(id, rest) return "{ " .. HEAD:format(id) .. (rest and ", " .. rest or "") .. " }" end

local function dir_of(files)
  local dir = proc.dir()
  os.execute("mkdir -p " .. dir .. "/models " .. dir .. "/other")
  for name, text in pairs(files) do proc.write(dir .. "/" .. name, text) end
  return dir
end

local function run_in(dir, args, limit)
  local program = proc.program:sub(1, 1) == "/" and proc.program or proc.root .. "/" .. proc.program
  local list = { program }
  for _, a in ipairs(args) do list[#list + 1] = a end
  return proc.shell("cd " .. proc.quote(dir) .. " && exec " .. proc.command(list), limit)
end

describe("model check", function()
  teardown(proc.cleanup)

  it("says ok for a good one and ends with 0", function()
    local r = run_in(proc.root, { "model", "check", "models/temperature-sensor.json", "environmental-sensor" })
    assert.are.equal(0, r.code, r.err)
    assert.are.equal("models/temperature-sensor.json: ok   temperature-sensor 1.0.0, sensor\n"
      .. "environmental-sensor: ok   environmental-sensor 1.0.0, sensor\n", r.out)
  end)

  it("says everything that is wrong, where it was written, and ends with 104", function()
    local dir = dir_of {
      ["models/base.json"] = "{\n  \"protocol\": \"mqtt\",\n  \"connection\": { \"qos\": 7 }\n}",
      ["models/m.json"] = '{ "extends": "./base.json", "id": "m", "name": "M", "type": "sensor",\n  "telemetry": [{ "name": "a", "type": "number",\n    "generator": { "type": "walk", "stpe": 1 } }] }',
      ["models/good.json"] = model "good",
      ["models/broken.json"] = "{\n  \"id\": ,\n}",
    }
    local r = run_in(dir, { "model", "check", "models/m.json", "models/good.json", "models/broken.json" })
    assert.are.equal(104, r.code)
    assert.are.equal("models/good.json: ok   good 1.0.0, sensor\n", r.out)
    for _, line in ipairs { "models/base.json:3:26: error IOTX022: /connection/qos: must be <= 2, is 7",
      'models/m.json:3:18: error IOTX022: /telemetry/0/generator: required key "step" is missing',
      'models/m.json:3:36: error IOTX022: /telemetry/0/generator/stpe: unknown key "stpe"',
      "models/broken.json:2:9: error IOTX021: expected a value, found ','" } do
      assert.is_truthy(r.err:find(line, 1, true), line .. "\n" .. r.err)
    end
    assert.is_truthy(r.err:find('     3 |   "connection": { "qos": 7 }', 1, true), r.err)
  end)

  it("goes as far as C does", function()
    local dir = dir_of { ["m.json"] = model("m", '\n"telemetry": [{ "name": "a", "type": "number",\n "generator": { "type": "uniform", "min": 9, "max": 1 } }],\n "payload": "{\\"x\\": ${nothing}}"') }
    local r = run_in(dir, { "model", "check", "m.json" })
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find("m.json:3:15: error IOTX022: /telemetry/0/generator: ", 1, true), r.err)
  end)

  it("prints JSON for programs", function()
    local dir = dir_of { ["m.json"] = model("m", '"colour": 1'), ["good.json"] = model("good", '"version": "2.0.0"') }
    local r = run_in(dir, { "model", "check", "--json", "m.json", "good.json", "nowhere.json" })
    assert.are.equal(104, r.code)
    assert.are.equal("", r.err)
    local v = cjson.decode(r.out)
    assert.are.equal(1, v.schema)
    assert.is_false(v.models[1].ok)
    local p = v.models[1].problems[1]
    assert.are.equal("/colour additionalProperties m.json:1:65", p.pointer .. " " .. p.rule .. " " .. p.file .. ":" .. p.line .. ":" .. p.column)
    assert.is_truthy(table.concat(p.valid, " "):find("telemetry", 1, true))
    assert.is_true(v.models[2].ok)
    assert.are.equal("good 2.0.0", v.models[2].id .. " " .. v.models[2].version)
    assert.is_truthy(v.models[3].problems[1].message:find("nowhere.json", 1, true))
  end)

  it("knows what it cannot do", function()
    for _, case in ipairs {
      { { "model" }, "expected check, show or list" }, { { "model", "chekc", "x" }, "did you mean `check`?" },
      { { "model", "check" }, "expected a model" }, { { "model", "show", "a", "b" }, "one too many" }, { { "model", "list", "x" }, "one too many" },
      { { "model", "check", "nowhere.json" }, "nowhere.json" }, { { "model", "show", "nothing" }, 'model "nothing" was not found; looked at ' },
      { { "model", "check", "--secrets", "x", "y" }, "--secrets has no effect with `model`" },
      { { "model", "check", "/tmp/" }, "/tmp" },
    } do
      local r = proc.run(case[1])
      assert.are.equal(2, r.code, table.concat(case[1], " ") .. "\n" .. r.err)
      assert.is_truthy(r.err:find(case[2], 1, true), r.err)
      assert.are.equal("", r.out)
    end
  end)

  it("says what a wrong name may mean, and where a data file was looked for", function()
    local dir = dir_of { ["valve.json"] = model("valve", '"version": "1.2.0"'), ["replay.json"] = [[{ "id": "replay", "name": "r",
      "type": "sensor", "protocol": "mqtt", "telemetry": [{ "name": "v", "type": "number", "generator": { "type": "replay", "dataFile": "no.csv" } }] }]] }
    local r = run_in(dir, { "model", "show", "vavle" })
    assert.is_truthy(r.err:find('; did you mean "valve"?\n', 1, true), r.err)
    r = run_in(dir, { "model", "check", "." })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find("is a directory; expected files", 1, true), r.err)
    r = run_in(dir, { "model", "check", "replay.json" })
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find("dataFile: no.csv: there is no such file; looked for no.csv\n", 1, true), r.err)
  end)

  it("bounds what it reads", function()
    local dir = dir_of { ["big.json"] = model("big", '"description": "' .. ("x"):rep(1100000) .. '"'), ["deep.json"] = ("["):rep(100000),
      ["long.json"] = model("long", '"description": "' .. ("é\\n"):rep(100000) .. '"'), ["empty.json"] = "", ["bytes.json"] = "\255\254{}" }
    local r = run_in(dir, { "model", "check", "--json", "big.json", "deep.json", "long.json", "empty.json", "bytes.json" })
    assert.are.equal(104, r.code, r.err)
    local v = cjson.decode(r.out).models
    assert.is_truthy(v[1].problems[1].message:find("big.json", 1, true))
    assert.is_truthy(v[2].problems[1].message:find("nested more than 64 deep", 1, true))
    assert.is_true(v[3].ok)
    assert.is_truthy(v[4].problems[1].message:find("found the end of the text", 1, true))
    assert.is_truthy(v[5].problems[1].message:find("expected a value", 1, true))
  end)
end)

describe("model show and list", function()
  teardown(proc.cleanup)

  it("print a model with what it extends, and those that there are", function()
    local dir = dir_of {
      ["models/valve.json"] = model("valve", '"version": "2.0.0", "connection": { "qos": 0, "keepAlive": 5e1 }, "metadata": { "x": 0.1, "big": 12345678901234567890 }'),
      ["models/valve@1.2.0.json"] = model("valve", '"version": "1.2.0"'),
      ["other/small.json"] = '{ "extends": "valve@2", "id": "small", "connection": { "qos": 1 } }',
      ["package.json"] = '{ "name": "not a model" }',
      ["models/broken.json"] = "{",
    }
    local r = run_in(dir, { "model", "show", "small", "--model-dir", "other" })
    assert.are.equal(0, r.code, r.err)
    local v = cjson.decode(r.out)
    assert.are.equal("small", v.id)
    assert.are.equal(1, v.connection.qos)
    assert.is_truthy(r.out:find('"keepAlive": 50', 1, true), r.out)
    assert.is_truthy(r.out:find('"x": 0.1,', 1, true), r.out)
    assert.is_nil(v.extends)
    r = run_in(dir, { "model", "list", "--model-dir", "other", "--json" })
    assert.are.equal(0, r.code, r.err)
    local ids = {}
    for i, m in ipairs(cjson.decode(r.out).models) do ids[i] = (m.id or m.path) .. " " .. (m.version or m.problem) end
    local list = table.concat(ids, "\n")
    assert.is_truthy(list:find("small 1.0.0\n", 1, true), list)
    assert.is_truthy(list:find("valve 1.2.0\nvalve 2.0.0", 1, true), list)
    assert.is_truthy(list:find("models/broken.json line 1", 1, true), list)
    assert.is_falsy(list:find("package", 1, true), list)
    r = run_in(dir, { "model", "list" })
    assert.is_truthy(r.out:find("valve                        1.2.0    sensor     models/valve@1.2.0.json", 1, true), r.out)
    r = run_in(dir, { "model", "show", "models/broken.json" })
    assert.are.equal(104, r.code)
    assert.are.equal("", r.out)
  end)
end)

local SCENARIO = [[
local iotix = require "iotix"
local g = iotix.group { name = "g", model = "%s", count = 1, %s }
return iotix.scenario { name = "s", duration = "3s", broker = iotix.env("BROKER", "embedded"), groups = { g } }
]]

describe("a scenario", function()
  teardown(proc.cleanup)

  it("names a model with a version", function()
    local dir = dir_of {
      ["models/valve@1.2.9.json"] = model("valve", '"version": "1.2.9"'), ["models/valve@1.10.0.json"] = model("valve", '"version": "1.10.0"'),
      ["s.lua"] = SCENARIO:format("valve@1.2", ""), ["t.lua"] = SCENARIO:format("valve@3", ""),
    }
    local r = run_in(dir, { "inspect", "s.lua" })
    assert.are.equal(0, r.code, r.err)
    local _, entry = next(cjson.decode(r.out).plan.models)
    assert.are.equal("1.2.9", entry.version)
    r = run_in(dir, { "check", "t.lua" })
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find('s.lua:2: error IOTX010: iotix.group "g": model "valve@3" was not found; there are 1.10.0 (models/valve@1.10.0.json), 1.2.9', 1, true)
      or r.err:find('model "valve@3" was not found; there are 1.10.0', 1, true), r.err)
  end)

  it("tells what is wrong with what its model extends", function()
    local dir = dir_of { ["models/b.json"] = '{ "id": "b", "qos": 1 }', ["models/m.json"] = '{ "extends": "b", "id": "m", "name": "M", "type": "sensor", "protocol": "mqtt" }',
      ["s.lua"] = SCENARIO:format("m", "") }
    local r = run_in(dir, { "check", "s.lua" })
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find('models/b.json:1:14: error IOTX022: /qos: unknown key "qos"', 1, true), r.err)
  end)
end)

-- A broker that prints what it gets in CONNECT and says yes.
local LISTENER = [[
import socket, sys
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(8)
print("port", s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    print("connect", c.recv(4096).hex(), flush=True)
    c.sendall(bytes([0x20, 2, 0, 0]))
]]

describe("a password that a model refers to", function()
  teardown(proc.cleanup)
  local SECRET = "p4ss ${deviceId}{index}=x"
  local MODEL = model("m", '"connection": { "username": "u", "passwordRef": "broker-password" },'
    .. '"telemetry": [{ "name": "a", "type": "number", "generator": { "type": "random" } }]')

  local function files()
    return dir_of { ["models/m.json"] = MODEL, ["s.lua"] = SCENARIO:format("m", ""), ["secrets"] = "# x\nbroker-password=" .. SECRET .. "\n",
      ["own.lua"] = SCENARIO:format("m", 'connection = iotix.mqtt { username = "u", password = "own" }') }
  end

  it("is missing before anything connects", function()
    local dir = files()
    for _, command in ipairs { "run", "check" } do
      local r = run_in(dir, { command, "s.lua" })
      assert.are.equal(2, r.code, r.err)
      for _, part in ipairs { 's.lua:2', 'group "g"', "models/m.json: /connection/passwordRef", 'no secret "broker-password"', "--secrets FILE",
        "IOTIX_SECRET_BROKER_PASSWORD" } do
        assert.is_truthy(r.err:find(part, 1, true), part .. "\n" .. r.err)
      end
    end
    assert.are.equal(0, run_in(dir, { "check", "own.lua" }).code)
  end)

  it("comes from a file that only its owner reads", function()
    local dir = files()
    os.execute("chmod 644 " .. dir .. "/secrets")
    local r = run_in(dir, { "check", "s.lua", "--secrets", "secrets" })
    assert.are.equal(2, r.code)
    assert.is_truthy(r.err:find("others can read or change secrets (mode 644): chmod 600 it, or say --insecure-secrets", 1, true), r.err)
    assert.are.equal(0, run_in(dir, { "check", "s.lua", "--secrets", "secrets", "--insecure-secrets" }).code)
    os.execute("chmod 600 " .. dir .. "/secrets")
    assert.are.equal(0, run_in(dir, { "check", "s.lua", "--secrets", "secrets" }).code)
  end)

  it("reaches the broker as it stands, and nothing else", function()
    local dir = files()
    os.execute("chmod 600 " .. dir .. "/secrets")
    local listener = proc.start(proc.command { "python3", "-c", LISTENER })
    local port = assert(proc.wait(10, function() return listener.out():match("port (%d+)") end))
    local hex = SECRET:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    local r = run_in(dir, { "s.lua", "-b", "mqtt://127.0.0.1:" .. port, "--secrets", "secrets", "-v", "-d", "1s", "--stop-timeout", "200ms",
      "--summary-json", "summary.json", "--summary", "full" }, 30)
    assert.is_truthy(listener.out():find(hex, 1, true), listener.out() .. r.err)
    local shown = r.out .. r.err .. (proc.read(dir .. "/summary.json") or "") .. run_in(dir, { "inspect", "s.lua", "--secrets", "secrets", "--origins" }).out
    assert.is_true(#shown > 500)
    assert.is_falsy(shown:find("p4ss", 1, true), "the password is shown somewhere")
  end)

  it("comes from the environment", function()
    local dir = files()
    local r = proc.shell("cd " .. proc.quote(dir) .. " && IOTIX_SECRET_BROKER_PASSWORD=x exec " .. proc.command {
      proc.program:sub(1, 1) == "/" and proc.program or proc.root .. "/" .. proc.program, "check", "s.lua" })
    assert.are.equal(0, r.code, r.err)
    assert.are.equal("", r.err)
  end)
end)

describe("the example", function()
  teardown(proc.cleanup)
  local pipe = io.popen("ls '" .. proc.root .. "/scenarios/'*.lua")
  local listed = {}
  for path in pipe:lines() do listed[#listed + 1] = path end
  pipe:close()
  local runs = {}

  setup(function() -- side by side: each of them does little for ten seconds or twenty
    for name, run in pairs(runs) do
      run.process = proc.start(proc.command { proc.program, run.path, "-q" })
      assert(run.process.pid, name)
    end
  end)

  for _, path in ipairs(listed) do
    local name = path:match("([^/]*)%.lua$")
    local f = io.open(proc.root .. "/models/" .. name .. ".json")
    if f then
      f:close()
      runs[name] = { path = path }
      it(name .. " runs and passes", function()
        local process = runs[name].process
        local code = process.wait(90)
        assert.are.equal(0, code, process.err() .. process.out())
      end)
    end
  end

  it("models all have a scenario and a line in the index", function()
    local index = proc.read(proc.root .. "/docs/how-to/example-models.md")
    local models = io.popen("ls '" .. proc.root .. "/models/'*.json")
    for path in models:lines() do
      local name = path:match("([^/]*)%.json$")
      assert.is_truthy(index:find("models/" .. name .. ".json", 1, true), name)
    end
    models:close()
    for link in index:gmatch("scenarios/([%l-]+)%.lua") do
      assert.is_truthy(proc.read(proc.root .. "/scenarios/" .. link .. ".lua"), link)
    end
  end)
end)
