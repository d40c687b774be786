-- Encodings read by decoders that others wrote: Python's cbor2, csv, json and struct, and protoc for Sparkplug B. The messages come
-- from the encoders of models (bench_encoder --dump) and from iotix.payload in a scenario.
local proc = require "integration.proc"

local bench = proc.program:gsub("bin/iotix%-run$", "bench/bench_encoder")

-- Whether a command works; without it the test is left out, in CI it fails.
local function have(command)
  if proc.shell(command).code == 0 then return true end
  assert(not proc.ci, "missing: " .. command)
  return false
end

-- Debian's Python, which has Debian's modules.
local python = proc.shell("/usr/bin/python3 -c 'import cbor2'").code == 0 and "/usr/bin/python3" or "python3"

-- Lines "NAME HEX" decoded: { NAME = text of the JSON }
local function decoded(lines)
  local file = proc.write(proc.dir() .. "/in", lines)
  local r = proc.shell(proc.command { python, proc.root .. "/tests/integration/payload_decode.py" } .. " <" .. proc.quote(file))
  assert.are.equal(0, r.code, r.err)
  local list = {}
  for name, json in r.out:gmatch("(%S+) ([^\n]*)") do list[name] = json end
  return list
end

local function protobuf(hex)
  local file = proc.write(proc.dir() .. "/in", (hex:gsub("%x%x", function(x) return string.char(tonumber(x, 16)) end)))
  local r = proc.shell(proc.command { "protoc", "--decode=Payload", "-I", proc.root .. "/tests/integration",
    proc.root .. "/tests/integration/payload.proto" } .. " <" .. proc.quote(file))
  assert.are.equal(0, r.code, r.err)
  return (r.out:gsub("%s+", " "))
end

local function dump()
  local r = proc.shell(proc.command { bench, "--dump" })
  assert.are.equal(0, r.code, r.err)
  local list = {}
  for name, hex in r.out:gmatch("(%S+) (%x*)") do list[name] = hex end
  return list
end

local function lines_of(list, ...)
  local names, lines = { ... }, {}
  for _, name in ipairs(names) do lines[#lines + 1] = name .. " " .. list[name] .. "\n" end
  return table.concat(lines)
end

describe("the encoders of models", function()
  teardown(proc.cleanup)

  it("are read by cbor2, csv, json and struct", function()
    if not have(proc.command { python, "-c", "import cbor2" }) then return pending("python3-cbor2 is missing") end
    local d = decoded(lines_of(dump(), "json", "cbor", "binary", "csv", "influx"))
    assert.are.equal('{"bytes": "AP8Q", "count": -42, "list": {"a": [1, {"float": "2.5"}, "x"]}, "nothing": null, "on": true, '
      .. '"temperature": {"float": "21.46"}, "text": "a\\"b, c=\\\\d \\u00e9", "timestamp": 1706745599123}', d.json)
    assert.are.equal('{"bytes": {"bytes": "00ff10"}, "count": -42, "list": {"a": [1, {"float": "2.5"}, "x"]}, "nothing": null, "on": true, '
      .. '"temperature": {"float": "21.46"}, "text": "a\\"b, c=\\\\d \\u00e9", "timestamp": 1706745599123}', d.cbor)
    assert.are.equal('[{"float": "21.456"}, -42, true, "a\\"b, c=\\\\d \\u00e9", {"bytes": "00ff10"}, {"a": [1, {"float": "2.5"}, "x"]}, '
      .. '{"bytes": "00000000"}]', d.binary)
    assert.are.equal('["1706745599123", "21.46", "-42", "true", "a\\"b, c=\\\\d \\u00e9", "AP8Q", "{\\"a\\":[1,2.5,\\"x\\"]}", ""]', d.csv)
    assert.are.equal('{"fields": {"bytes": "AP8Q", "count": -42, "list": "{\\"a\\":[1,2.5,\\"x\\"]}", "on": true, '
      .. '"temperature": {"float": "21.46"}, "text": "a\\"b, c=\\\\d \\u00e9"}, "measurement": "sensor", '
      .. '"tags": {"device": "dev 1", "group": "gr=p"}, "time": 1706745599123456000}', d.influx)
  end)

  it("are read by protoc", function()
    if not have("protoc --version") then return pending("protobuf-compiler is missing") end
    local d = dump()
    local head, time = "timestamp: 1706745599123 ", " timestamp: 1706745599123 "
    assert.are.equal(head
      .. "metrics { alias: 1" .. time .. "double_value: 21.46 } "
      .. "metrics { alias: 2" .. time .. "long_value: 18446744073709551574 } "
      .. "metrics { alias: 3" .. time .. "boolean_value: true } "
      .. "metrics { alias: 4" .. time .. 'string_value: "a\\"b, c=\\\\d \\303\\251" } '
      .. "metrics { alias: 5" .. time .. 'bytes_value: "\\000\\377\\020" } '
      .. "metrics { alias: 6" .. time .. 'string_value: "{\\"a\\":[1,2.5,\\"x\\"]}" } '
      .. "metrics { alias: 7" .. time .. "is_null: true } seq: 200 ", protobuf(d.sparkplug))
    assert.are.equal(head
      .. 'metrics { name: "bdSeq"' .. time .. "datatype: 4 long_value: 3 } "
      .. 'metrics { name: "Node Control/Rebirth"' .. time .. "datatype: 11 boolean_value: false } "
      .. 'metrics { name: "temperature" alias: 1' .. time .. "datatype: 10 double_value: 21.46 } "
      .. 'metrics { name: "count" alias: 2' .. time .. "datatype: 4 long_value: 18446744073709551574 } "
      .. 'metrics { name: "on" alias: 3' .. time .. "datatype: 11 boolean_value: true } "
      .. 'metrics { name: "text" alias: 4' .. time .. 'datatype: 12 string_value: "a\\"b, c=\\\\d \\303\\251" } '
      .. 'metrics { name: "bytes" alias: 5' .. time .. 'datatype: 17 bytes_value: "\\000\\377\\020" } '
      .. 'metrics { name: "list" alias: 6' .. time .. 'datatype: 12 string_value: "{\\"a\\":[1,2.5,\\"x\\"]}" } '
      .. 'metrics { name: "nothing" alias: 7' .. time .. "datatype: 10 is_null: true } seq: 0 ", protobuf(d.birth))
    assert.are.equal(head .. 'metrics { name: "bdSeq"' .. time .. "datatype: 4 long_value: 3 } ", protobuf(d.death))
  end)
end)

describe("models over a broker", function()
  teardown(proc.cleanup)

  local MODEL = [[{ "id": "m-%s", "name": "m", "type": "sensor", "protocol": "mqtt", "encoding": "%s", "telemetry": [
    { "name": "temperature", "type": "number", "precision": 2, "generator": { "type": "constant", "value": 21.456 }, "intervalMs": 200 },
    { "name": "count", "type": "integer", "generator": { "type": "constant", "value": -42 }, "intervalMs": 200 },
    { "name": "on", "type": "boolean", "generator": { "type": "constant", "value": true }, "intervalMs": 200 }] }]]
  local SCENARIO = [[
local iotix = require "iotix"
local groups = {}
for i, e in ipairs { "cbor", "csv", "influx", "sparkplug" } do groups[i] = iotix.group { name = e, model = "m-" .. e } end
return iotix.scenario { name = "x", duration = "1s", broker = iotix.env "BROKER", groups = groups }
]]

  -- Runs one device of each encoding: the first payload of every topic as { TOPIC = hex }.
  local function published()
    local broker, dir = proc.mosquitto(), proc.dir()
    if not broker then return nil end
    local sub = proc.listen(broker, "#", "%t %x")
    for _, e in ipairs { "cbor", "csv", "influx", "sparkplug" } do proc.write(dir .. "/m-" .. e .. ".json", MODEL:format(e, e)) end
    local r = proc.run({ proc.write(dir .. "/s.lua", SCENARIO), "-b", broker.url, "-q" }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    local list = {}
    assert(proc.wait(10, function()
      for topic, hex in sub.out():gmatch("(%S+) (%x+)\n") do list[topic] = list[topic] or hex end
      return list["cbor/cbor-1/telemetry"] and list["csv/csv-1/telemetry"] and list["influx/influx-1/telemetry"]
        and list["spBv1.0/sparkplug/NDATA/sparkplug-1"]
    end), sub.out())
    return list
  end

  it("are read by cbor2, csv and protoc", function()
    if not have(proc.command { python, "-c", "import cbor2" }) then return pending("python3-cbor2 is missing") end
    if not have("protoc --version") then return pending("protobuf-compiler is missing") end
    local list = published()
    if not list then return pending("mosquitto is not installed") end
    local d = decoded(lines_of({ cbor = list["cbor/cbor-1/telemetry"], csv = list["csv/csv-1/telemetry"],
      influx = list["influx/influx-1/telemetry"] }, "cbor", "csv", "influx"))
    assert.is_truthy(d.cbor:find('^{"count": %-42, "on": true, "temperature": {"float": "21.46"}, "timestamp": %d+}$'), d.cbor)
    assert.is_truthy(d.csv:find('^%["%d+", "21.46", "%-42", "true"%]$'), d.csv)
    assert.is_truthy(d.influx:find('"measurement": "m-influx", "tags": {"device": "influx-1", "group": "influx"}', 1, true), d.influx)
    local birth, data = protobuf(list["spBv1.0/sparkplug/NBIRTH/sparkplug-1"]), protobuf(list["spBv1.0/sparkplug/NDATA/sparkplug-1"])
    assert.is_truthy(birth:find('name: "bdSeq"', 1, true) and birth:find('name: "temperature" alias: 1 ', 1, true)
      and birth:find('name: "on" alias: 3 ', 1, true) and birth:find("seq: 0 $"), birth)
    assert.is_truthy(data:find("metrics { alias: 1 timestamp: %d+ double_value: 21.46 } metrics { alias: 2 ") and data:find("seq: 1 $")
      and not data:find("name:"), data)
  end)
end)

describe("iotix.payload", function()
  teardown(proc.cleanup)

  -- What expressions give, as { NAME = hex }.
  local function made(expressions)
    local lines = { 'local iotix = require "iotix" local p, null = iotix.payload, iotix.json.null',
      'local function hex(s) return (s:gsub(".", function(c) return string.format("%02x", c:byte()) end)) end' }
    for name, expression in pairs(expressions) do
      lines[#lines + 1] = string.format("print(%q, hex(%s))", "made-" .. name, expression)
    end
    lines[#lines + 1] = 'return iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "g", behaviour = function() end } } }'
    local r = proc.run({ "--check", proc.write(proc.dir() .. "/s.lua", table.concat(lines, "\n")) }, 20)
    assert.are.equal(0, r.code, r.err)
    local list = {}
    for name, hex in (r.out .. r.err):gmatch("made%-([%w]+)%s*\\?t?%s*(%x+)") do list[name] = hex end
    return list
  end

  it("makes what cbor2 and csv read", function()
    if not have(proc.command { python, "-c", "import cbor2" }) then return pending("python3-cbor2 is missing") end
    local list = made {
      cbor = [[p.cbor { i = 1, neg = -1000, f = 1.5, d = 1.1, big = p.integer "9223372036854775807", t = "é", b = p.bytes "\0\255", list = { 1, { 2 } }, none = null, empty = {} }]],
      csv = [[p.csv { 1.5, 'a "b", c', "x\ny", null, true }]],
      influx = [[p.influx { measurement = "m m", tags = { ["k ="] = "v, w" }, fields = { n = p.integer(5), f = 2, s = 'q"\\' }, time = 1 }]],
    }
    local d = decoded(lines_of(list, "cbor", "csv", "influx"))
    assert.are.equal('{"b": {"bytes": "00ff"}, "big": 9223372036854775807, "d": {"float": "1.1"}, "empty": {}, "f": {"float": "1.5"}, "i": 1, '
      .. '"list": [1, [2]], "neg": -1000, "none": null, "t": "\\u00e9"}', d.cbor)
    assert.are.equal('["1.5", "a \\"b\\", c", "x\\ny", "", "true"]', d.csv)
    assert.are.equal('{"fields": {"f": {"float": "2.0"}, "n": 5, "s": "q\\"\\\\"}, "measurement": "m m", "tags": {"k =": "v, w"}, "time": 1000000000}',
      d.influx)
  end)

  it("makes what protoc reads", function()
    if not have("protoc --version") then return pending("protobuf-compiler is missing") end
    local list = made { sparkplug = [[p.sparkplug { birth = true, timestamp = 1, metrics = {
      { name = "a", alias = 1, type = "Int8", value = -1 }, { name = "b", type = "Float", value = 1.5 }, { name = "c", type = "DateTime", value = 5 },
      { name = "d", type = "UInt64", value = 2^63 }, { name = "e", value = p.bytes "\0" }, { name = "f", type = "Text", value = "x" } } }]] }
    assert.are.equal('timestamp: 1000 metrics { name: "a" alias: 1 timestamp: 1000 datatype: 1 int_value: 4294967295 } '
      .. 'metrics { name: "b" timestamp: 1000 datatype: 9 float_value: 1.5 } metrics { name: "c" timestamp: 1000 datatype: 13 long_value: 5 } '
      .. 'metrics { name: "d" timestamp: 1000 datatype: 8 long_value: 9223372036854775808 } '
      .. 'metrics { name: "e" timestamp: 1000 datatype: 17 bytes_value: "\\000" } '
      .. 'metrics { name: "f" timestamp: 1000 datatype: 14 string_value: "x" } seq: 0 ', protobuf(list.sparkplug))
  end)
end)
