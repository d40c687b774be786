-- iotix.data: one row of a file for each device, in patterns and in behaviours, on any number of shards; and what is said when the
-- file or its use is wrong.
local proc = require "integration.proc"

local dir

-- Runs a scenario beside the given files { name = bytes }.
local function run(files, text, ...)
  dir = proc.dir()
  for name, bytes in pairs(files) do proc.write(dir .. "/" .. name, bytes) end
  local args = { proc.write(dir .. "/s.lua", text), "-q" }
  for _, a in ipairs { ... } do args[#args + 1] = a end
  local r = proc.run(args, 40)
  r.text = r.err .. r.out
  return r
end

local DEVICES = 'serial,user,secret,"floor no"\nA-1,ann,007,3\nB-2,bob,"s3 ""x"", y",\nC-3,eve,1e5,-1\nD-4,dan,x,0\n'

-- A scenario with one group of `count` devices that publish what they find in dev.data.
local function fleet(count, data, more, behaviour)
  return string.format([[
local iotix = require "iotix"
local g = iotix.group { name = "g", count = %s, qos = 1, %s %s behaviour = function(dev)
  %s
end }
return iotix.scenario { name = "data", groups = { g }, test = function(run)
  %%s
end }
]], count, data and "data = iotix.data" .. data .. "," or "", more or "", behaviour or "assert(dev:connect()) dev:sleep('1h')")
end

local function with_test(text, test) return (text:gsub("%%s", function() return test or "" end)) end

describe("iotix.data", function()
  teardown(proc.cleanup)

  it("gives each device its row, in patterns and in the behaviour, on every shard", function()
    local text = with_test(fleet(4, '{ "devices.csv" }',
      [[id = "${data.serial}", topics = "floor/${data.floor no}/{deviceId}",
        connection = iotix.mqtt { client_id = "c-${data.serial}", username = "${data.user}", password = "${data.secret}",
          will = { topic = "gone/${data.user}", payload = "${data.secret}" } },]], [[
  assert(dev.data == dev.data and dev.id == dev.data.serial)
  assert(dev.data["floor no"] == ({ "3", nil, "-1", "0" })[dev.index])
  assert(dev:connect())
  dev:on("message", function(m) if m.payload == "die" then dev:disconnect("abrupt") end end)
  assert(dev:subscribe("ask"))
  for _ in dev:every("200ms") do dev:publish("row", dev.data) end]]), [[
  local e = iotix.expect
  assert(run:group("g"):wait("online", 4, "10s"))
  local first = e.message { topic = "floor/3/A-1/row", within = "10s" }
  assert(first.payload == '{"floor no":"3","secret":"007","serial":"A-1","user":"ann"}', first.payload)
  local second = e.message { topic = "floor//B-2/row", within = "10s" }
  assert(second.payload == '{"secret":"s3 \\"x\\", y","serial":"B-2","user":"bob"}', second.payload)
  e.message { topic = "floor/-1/C-3/row", within = "10s" }
  e.message { topic = "floor/0/D-4/row", within = "10s" }
  local will = e.message { topic = "gone/ann", within = "10s", trigger = function()
    run:publish("floor/3/A-1/ask", "die")
  end }
  assert(will.payload == "007", will.payload)]])
    for _, shards in ipairs { "1", "2" } do
      local r = run({ ["devices.csv"] = DEVICES }, text, "--shards", shards)
      assert.are.equal(0, r.code, r.text)
    end
  end)

  it("says what is in the file, and keeps it so", function()
    local r = run({ ["devices.csv"] = DEVICES, ["n.csv"] = "a;b\n1;x,y\n" }, [[
local iotix = require "iotix"
local d = iotix.data{ "devices.csv" }
assert(d.path:find("devices.csv$") and d.rows == 4 and #d.columns == 4 and d.columns[4] == "floor no")
assert(not pcall(function() d.rows = 5 end))
assert(iotix.data "n.csv".columns[2] == "b")
assert(iotix.data{ "n.csv", header = false, delimiter = ";" }.rows == 2)
local g = iotix.group { name = "g", behaviour = function() end }
return iotix.scenario { name = "x", duration = "1s", groups = { g } }]], "--check")
    assert.are.equal(0, r.code, r.text)
  end)

  it("has texts of CSV unless numbers are asked for, and JSON as it is", function()
    local function row(files, data, check)
      local publish = " assert(dev:connect()) dev:publish('x', 1, { retain = true }) dev:sleep('1h')"
      local r = run(files, with_test(fleet(1, data, "", check .. publish),
        'iotix.expect.message { topic = "g/g-1/x", within = "10s" }'), "--shards", "1")
      assert.are.equal(0, r.code, r.text)
    end
    local csv = { ["a.csv"] = "id,n,on\n007,1.5,true\n" }
    row(csv, '{ "a.csv" }', 'assert(dev.data.id == "007" and dev.data.n == "1.5" and dev.data.on == "true")')
    row(csv, '{ "a.csv", numbers = true }', 'assert(dev.data.id == 7 and dev.data.n == 1.5 and dev.data.on == true)')
    row({ ["a.json"] = '[{"id":"007","n":1.5,"o":{"x":[1,2]},"e":null}]' }, '{ "a.json" }',
      'assert(dev.data.id == "007" and dev.data.n == 1.5 and dev.data.o.x[2] == 2 and dev.data.e == nil)')
    row({ ["a.ndjson"] = '{"id":7}\n' }, '{ "a.ndjson" }', 'assert(dev.data.id == 7)')
    row({}, nil, "assert(dev.data == nil)")
  end)

  it("tells a column that is not there", function()
    local r = run({ ["devices.csv"] = DEVICES }, with_test(fleet(1, '{ "devices.csv" }', 'on_error = "fail",', "local x = dev.data.seriel"),
      'run:at("5s")'))
    assert.are_not.equal(0, r.code)
    assert.truthy(r.text:find('no column "seriel"; there is serial, user, secret, floor no; did you mean "serial"?', 1, true), r.text)
  end)

  describe("refuses, before anything starts,", function()
    local function refused(files, text, said, ...)
      local r = run(files, with_test(text, 'error("it began")'), ...)
      assert.are.equal(104, r.code, r.text)
      assert.truthy(r.text:gsub("%s+", " "):find(said, 1, true), said .. "\n---\n" .. r.text)
      assert.falsy(r.text:find("it began", 1, true))
    end

    local cases = {
      { "a file that is not there", {}, fleet(1, '{ "none.csv" }'), "there is no such file" },
      { "a path out of the directory", {}, fleet(1, '{ "../x.csv" }'), 'a data file lies beside the scenario' },
      { "an absolute path", {}, fleet(1, '{ "/etc/passwd" }'), 'a data file lies beside the scenario' },
      { "no path", {}, fleet(1, '{ }'), 'iotix.data: expected a file, as in iotix.data{ "devices.csv" }' },
      { "an unknown option", { ["a.csv"] = "a\n1\n" }, fleet(1, '{ "a.csv", delimeter = ";" }'), 'did you mean "delimiter"?' },
      { "a delimiter of two characters", { ["a.csv"] = "a\n1\n" },
        fleet(1, '{ "a.csv", delimiter = ";;" }'), "delimiter: expected one character" },
      { "an unknown format", { ["a.csv"] = "a\n1\n" }, fleet(1, '{ "a.csv", format = "cvs" }'), "one of: csv, ndjson, json" },
      { "a file that is broken", { ["a.csv"] = "a,b\n1,2\n3\n" },
        fleet(1, '{ "a.csv" }'), "a.csv:3: expected 2 fields as in the first row, got 1" },
      { "a file of no known kind", { ["a.txt"] = "a\n1\n" }, fleet(1, '{ "a.txt" }'), "give format (csv, ndjson, json)" },
      { "an empty file", { ["a.csv"] = "" }, fleet(1, '{ "a.csv" }'), "the file is empty" },
      { "a column of a pattern that is not there", { ["a.csv"] = "serial\n1\n" }, fleet(1, '{ "a.csv" }', 'id = "${data.seriel}",'),
        'id: ${data.seriel}: ' },
      { "a pattern without data", {}, fleet(1, nil, 'topics = "${data.serial}",'),
        'topics: ${data.serial} needs data = iotix.data{ "devices.csv" } in the group' },
      { "data that is no data", {}, (fleet(1, nil, 'data = { "a.csv" },')), "data: expected what iotix.data returns" },
      { "too few rows", { ["devices.csv"] = DEVICES }, fleet(5, '{ "devices.csv" }'), "devices.csv has 4 rows, too few for 5 devices" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function() refused(case[2], case[3], case[4]) end)
    end

    it("too few rows after --devices and --scale, and takes a count that these made fit", function()
      local files = { ["devices.csv"] = DEVICES }
      refused(files, fleet(2, '{ "devices.csv" }'), "devices.csv has 4 rows, too few for 6 devices", "--devices", "6")
      refused(files, fleet(2, '{ "devices.csv" }'), "devices.csv has 4 rows, too few for 8 devices", "--scale", "4")
      local r = run(files, with_test(fleet(100, '{ "devices.csv" }')), "--devices", "4", "--check")
      assert.are.equal(0, r.code, r.text)
    end)

    it("two devices of one id", function()
      local r = run({ ["a.csv"] = "serial\nx\ny\nx\n" }, with_test(fleet(3, '{ "a.csv" }', 'id = "${data.serial}",')))
      assert.are.equal(104, r.code, r.text)
      assert.truthy(r.text:gsub("%s+", " "):find("lines 2 and 4 of", 1, true), r.text)
    end)
  end)
end)
