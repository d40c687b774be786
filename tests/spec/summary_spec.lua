-- A real summary.json against its schema, with the product's own validator. Needs the binary: IOTIX_RUN=build/debug/bin/iotix-run.

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

local schema = decode(read(root .. "models/schema/summary.schema.json"))
local validator = assert(jsonschema.compile(schema))

local scenario = [[
local iotix = require "iotix"
local group = iotix.group {
  name = "probes", count = 3,
  behaviour = function(dev)
    assert(dev:connect())
    for _ in dev:every("100ms") do dev:publish("telemetry", { t = 1 }, { qos = 1 }) end
  end,
}
return iotix.scenario {
  name = "summary", duration = "2s", broker = "embedded", groups = { group },
  thresholds = {
    publish_latency = { "p99 < 1m" },
    ["publish_latency{group:probes}"] = { "count > 100000000" },
    subscribe_latency = { "p95 < 1s", no_data = "pass" },
  },
}
]]

-- Runs the text as a scenario; returns the decoded summary.
local function run(text)
  local base = os.tmpname()
  local file, out = base .. ".lua", base .. ".json"
  local f = assert(io.open(file, "wb"))
  f:write(text)
  f:close()
  os.execute(("%s %s --summary-json %s --progress none >/dev/null 2>&1"):format(os.getenv("IOTIX_RUN"), file, out))
  local summary = decode(read(out))
  os.remove(base)
  os.remove(file)
  os.remove(out)
  return summary
end

describe("the schema of summary.json", function()
  it("is valid draft-07", function()
    local meta = assert(jsonschema.compile(require("iotix._core.jsonschema_draft07").schema()))
    local ok, errors = meta:validate(schema)
    assert.is_true(ok, jsonschema.format(errors))
  end)

  it("refuses a document that lacks what it promises", function()
    local ok, errors = validator:validate(decode('{"schema": 2}'))
    assert.is_falsy(ok)
    local text = jsonschema.format(errors)
    for _, name in ipairs { "schema", "verdict", "thresholds", "latency", "generator" } do
      assert.is_truthy(text:find(name, 1, true), name .. " in\n" .. text)
    end
  end)
end)

describe("iotix-run --summary-json", function()
  if not os.getenv("IOTIX_RUN") then
    pending("needs IOTIX_RUN, the path of iotix-run")
    return
  end

  it("writes what the schema says, after a run with a failed threshold", function()
    local summary = run(scenario)
    local ok, errors = validator:validate(summary)
    assert.is_true(ok, errors and jsonschema.format(errors))
    assert.equal(99, summary.verdict.exitCode)
    assert.is_false(summary.verdict.pass)
    assert.equal(3, #summary.thresholds)
    local states = {}
    for _, t in ipairs(summary.thresholds) do states[t.metric] = t.state end
    assert.same({ publish_latency = "pass", ["publish_latency{group:probes}"] = "fail", subscribe_latency = "noData" }, states)
    assert.equal(3, summary.totals.devices.everOnline)
    assert.is_true(summary.totals.messages.acked > 0)
    assert.is_true(summary.latency.publish_latency.count > 0)
    assert.equal("probes", summary.groups[1].name)
  end)

  it("writes it too when nothing could be reached", function()
    local summary = run((scenario:gsub('"embedded"', '"mqtt://127.0.0.1:1"'):gsub("assert%(dev:connect%(%)%)", "dev:connect()")))
    local ok, errors = validator:validate(summary)
    assert.is_true(ok, errors and jsonschema.format(errors))
    assert.equal(111, summary.verdict.exitCode)
    assert.equal(0, summary.totals.devices.everOnline)
    assert.is_true(#summary.errors > 0)
  end)

  it("writes it too when the scenario does not load", function()
    local summary = run("local x = = 3")
    local ok, errors = validator:validate(summary)
    assert.is_true(ok, errors and jsonschema.format(errors))
    assert.equal(104, summary.verdict.exitCode)
    assert.equal(1, #summary.diagnostics)
  end)
end)
