-- luacheck: no max line length
-- Thousands of broken models through the whole check: schema, what they extend, and the parser in C. Each is one of the examples with
-- one to four changes to its tree. Whatever comes out, the program answers for every file, and what it refuses it says where and why.
-- IOTIX_MUTANTS is how many, IOTIX_MUTANTS_SEED which.
local proc = require "integration.proc"
local json = require "iotix._core.json"

-- Under a sanitizer each takes three times as long: fewer there, beside a fuzzer of hundreds of thousands (fuzz_device_model).
local COUNT = tonumber(os.getenv "IOTIX_MUTANTS") or (proc.patience > 1 and 2000 or 4000)
local BATCH = 200 -- files of one process

local state = tonumber(os.getenv "IOTIX_MUTANTS_SEED") or 20240304
local function below(n)
  state = (state * 16807) % 2147483647
  return math.floor(state / 2147483647 * n)
end

local function copy(value)
  local t = json.type(value)
  if value == json.null or (t ~= "array" and t ~= "object") then return value end
  local out, keys = {}, json.keys(value)
  for _, key in ipairs(keys) do out[key] = copy(value[key]) end
  return t == "array" and json.array(out) or json.object(out, keys)
end

-- Every place of a document that holds a value: { what holds it, key }.
local function places(value, list)
  list = list or {}
  local t = json.type(value)
  if value ~= json.null and (t == "array" or t == "object") then
    for _, key in ipairs(json.keys(value)) do
      list[#list + 1] = { value, key }
      places(value[key], list)
    end
  end
  return list
end

local function deep(n)
  local value = 1
  for _ = 1, n do value = below(2) == 0 and json.array { value } or json.object { type = "object", properties = value } end
  return value
end

local strange = {
  function() return json.null end, function() return below(2) == 0 end, function() return json.object() end, function() return json.array() end,
  function() return ({ 0, -1, 1, 0.5, 1e308, -1e308, 2 ^ 53, 1e-300, 65536, 65537, 2147483648 })[below(11) + 1] end,
  function() return ("x"):rep(({ 256, 4097, 70000 })[below(3) + 1]) end,
  function() return deep(({ 5, 40, 70 })[below(3) + 1]) end,
  function()
    return ({ "", "\240\159\152\128", "\226\128\174evil", "a\204\129", "${", "${deviceId}", "{nothing}", "$${x}", "temperature > ", "((((", "1/0",
      "* * * * *", "../../../etc/passwd", "/dev/zero", "#", "+/+/#", "pkg.module:Class", "a b", "\127", "null", "Europe/Berlin" })[below(21) + 1]
  end,
}

local function mutate(document, other)
  for _ = 1, 1 + below(4) do
    local all = places(document)
    if #all == 0 then return document end
    local spot = all[below(#all) + 1]
    local holder, key = spot[1], spot[2]
    local is_list = json.type(holder) == "array"
    local what = below(6)
    if what == 0 then
      if is_list then table.remove(holder, key) else holder[key] = nil end
    elseif what == 1 then
      if is_list then table.insert(holder, copy(holder[key])) else holder[key .. "2"] = copy(holder[key]) end
    elseif what == 2 or what == 3 then
      holder[key] = strange[below(#strange) + 1]()
    elseif what == 4 then
      local elsewhere = places(other)
      local from = elsewhere[below(#elsewhere) + 1]
      holder[key] = copy(from[1][from[2]])
    elseif type(holder[key]) == "number" then
      holder[key] = -holder[key] * 10
    end
  end
  return document
end

describe("mutated models", function()
  local dir, examples = proc.dir(), {}
  teardown(proc.cleanup)

  setup(function()
    local pipe = io.popen("ls '" .. proc.root .. "/models/'*.json")
    for path in pipe:lines() do examples[#examples + 1] = assert(json.decode(assert(proc.read(path)))) end
    pipe:close()
    os.execute("cp -r '" .. proc.root .. "/models/data' '" .. proc.root .. "/models/camera.lua' '" .. dir .. "'")
  end)

  it("are all answered for", function()
    local refused, taken, rules = 0, 0, {}
    for from = 1, COUNT, BATCH do
      local args = { "model", "check", "--json", "--model-dir", proc.root .. "/models" }
      local n = math.min(BATCH, COUNT - from + 1)
      for i = 1, n do
        local document = mutate(copy(examples[below(#examples) + 1]), examples[below(#examples) + 1])
        args[#args + 1] = proc.write(dir .. "/m" .. i .. ".json", json.encode(document))
      end
      local r = proc.run(args, 120)
      assert.is_true(r.code == 0 or r.code == 104, "batch from " .. from .. " ended with " .. r.code .. "\n" .. r.err:sub(1, 4000))
      assert.are.equal("", r.err)
      local answer = assert(json.decode(r.out))
      assert.are.equal(n, #answer.models)
      for i, model in ipairs(answer.models) do
        taken, refused = taken + (model.ok and 1 or 0), refused + (model.ok and 0 or 1)
        local where = model.file .. " (batch from " .. from .. ", number " .. i .. ")"
        assert.are.equal(model.ok, #model.problems == 0, where)
        for _, problem in ipairs(model.problems) do
          rules[problem.rule] = (rules[problem.rule] or 0) + 1
          assert.is_true(#problem.message > 3, where)
          assert.is_true(problem.rule ~= "limit" or problem.message:find("^and more") or problem.message:find("nested"), where .. ": " .. problem.message)
          assert.is_falsy(problem.message:find("%.lua:%d"), where .. ": " .. problem.message) -- an error of ours
          assert.is_falsy(problem.message:find("out of memory"), where .. ": " .. problem.message)
        end
      end
    end
    assert.are.equal(COUNT, refused + taken)
    assert.is_true(refused > COUNT / 2 and taken > COUNT / 50, refused .. " refused, " .. taken .. " taken")
    assert.is_true((rules.model or 0) > 0, "some get as far as C")
  end)

  it("may hold texts of any length, wherever our own code reads them", function()
    local long = ("x"):rep(70000)
    local telemetry = '"telemetry":[{"name":"a","type":"number","generator":%s}]'
    local args = { "model", "check", "--json" }
    for i, more in ipairs {
      '"extends":"' .. long .. '"', telemetry:format('{"type":"replay","dataFile":"' .. long .. '"}'),
      telemetry:format('{"type":"custom","handler":"' .. long .. '"}'), telemetry:format('{"type":"gps","speedKmh":1,"routeFile":"' .. long .. '"}'),
      '"commands":[{"name":"c","handler":"' .. long .. '"}]',
      telemetry:format('{"type":"constant","value":1}') .. ',"encoding":{"type":"lua","handler":"' .. long .. '"}',
      '"connection":{"broker":"' .. long .. '","passwordRef":"' .. long .. '"}', '"children":[{"model":"' .. long .. '"}]',
    } do
      args[#args + 1] = proc.write(dir .. "/long" .. i .. ".json", '{"id":"m","name":"m","type":"sensor","protocol":"mqtt",' .. more .. "}")
    end
    local r = proc.run(args, 60)
    assert.are.equal("", r.err)
    assert.is_falsy(r.out:find("%.lua:%d"), r.out:match("[^{}]*%.lua:%d[^{}]*"))
    for i, model in ipairs(json.decode(r.out).models) do assert.is_true(i == 7 or not model.ok, model.file) end
  end)
end)
