-- Drives the real binary, named by IOTIX_RUN: what a person types and what they get. Everything runs on the embedded broker.
local run_path = os.getenv("IOTIX_RUN")

local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read("*a")
  f:close()
  return text
end

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

describe("iotix-run", function()
  local dir

  -- Returns exit code, stdout, stderr. Every run has a deadline: `timeout` exits 124.
  local function iotix(args, env)
    local command = string.format("cd %s && env -u NO_COLOR %s timeout 60 %s %s >out.txt 2>err.txt </dev/null; echo $? >code.txt",
      quote(dir), env or "", quote(run_path), args)
    os.execute(command)
    return tonumber(read(dir .. "/code.txt")), read(dir .. "/out.txt"), read(dir .. "/err.txt")
  end

  setup(function()
    if not run_path then return end
    local p = assert(io.popen("mktemp -d /tmp/iotix-spec-XXXXXX"))
    dir = p:read("*l")
    p:close()
    write(dir .. "/quick.lua", [[
local iotix = require "iotix"
local p = iotix.params { rate = { type = "integer", default = 2, help = "messages a second" } }
return iotix.scenario {
  name = "quick", duration = "2s",
  groups = { iotix.group { name = "g", count = 3, behaviour = function(dev)
    assert(dev:connect())
    for _ in dev:every(1 / p.rate) do dev:publish("t", { v = 1 }, { qos = 1 }) end
  end } },
  thresholds = { publish_latency = "p95 < 5s" },
}
]])
  end)

  teardown(function() if dir then os.execute("rm -rf " .. quote(dir)) end end)

  local function spec(name, body)
    it(name, function()
      if not run_path then pending("IOTIX_RUN does not name the binary") return end
      body()
    end)
  end

  local function last_line(text) return text:match("([^\n]*)\n$") end

  spec("runs a scenario: summary on stdout, verdict last, the rest on stderr", function()
    local code, out, err = iotix("quick.lua")
    assert.equals(0, code)
    assert.matches("^  PASS  1 of 1 threshold   %(exit 0%)$", last_line(out))
    assert.matches("iotix%-run [%d%.]+   scenario quick.lua", err)
    assert.matches("t=%d+s phase=hold devices=3/3 pub=", err)
    assert.is_nil(out:find("\27", 1, true))
    assert.is_nil(err:find("\27", 1, true))
  end)

  spec("fails a threshold with 99, names it, and writes the summary all the same", function()
    local code, out = iotix("quick.lua --threshold 'publish_latency: p95 < 1us' --summary-json s.json")
    assert.equals(99, code)
    assert.matches("FAIL  1 of 2 thresholds failed   %(exit 99%)$", last_line(out))
    assert.matches('"exitCode": 99', read(dir .. "/s.json"))
    assert.equals(0, (iotix("quick.lua --threshold 'publish_latency: p95 < 1us' --exit-zero -q")))
  end)

  spec("overrides are shown with their source", function()
    local code, _, err = iotix("quick.lua -n 5 --seed 9 -d 1s", "IOTIX_STOP_TIMEOUT=5s")
    assert.equals(0, code)
    assert.matches("total 5 devices   %[flag %-n%]", err)
    assert.matches("seed 9   %[flag %-%-seed%]", err)
    assert.matches("%[IOTIX_STOP_TIMEOUT%]", err)
  end)

  spec("takes a scenario from stdin", function()
    os.execute(string.format("cd %s && timeout 60 %s - -d 1s <quick.lua >out.txt 2>err.txt; echo $? >code.txt",
      quote(dir), quote(run_path)))
    assert.equals("0\n", read(dir .. "/code.txt"))
    assert.matches("from stdin", read(dir .. "/err.txt"))
  end)

  spec("new templates run as they stand", function()
    for _, template in ipairs { "minimal", "mqtt", "ramp", "soak" } do
      assert.equals(0, (iotix("new made-" .. template .. " --template " .. template)))
      assert.equals(2, (iotix("new made-" .. template .. " --template " .. template)))
      local code, out, err = iotix("made-" .. template .. ".lua --progress none -d " .. (template == "mqtt" and "8s" or "3s"))
      assert.equals(0, code, template .. "\n" .. out .. err)
    end
  end)

  spec("check says what is wrong, where, and what was meant", function()
    write(dir .. "/bad.lua", 'local iotix = require "iotix"\nlocal g = iotix.group { nmae = "x" }\nreturn g\n')
    local code, out, err = iotix("check bad.lua")
    assert.equals(104, code)
    assert.equals("", out)
    assert.matches("bad.lua:2:", err)
    assert.matches("error IOTX%d+: ", err)
    assert.matches("nmae", err)
    code, out = iotix("check bad.lua --format json")
    assert.equals(104, code)
    assert.matches('^%[', out)
    assert.matches('"line": 2', out)
    write(dir .. "/syntax.lua", "return {\n")
    assert.equals(104, (iotix("syntax.lua")))
    assert.equals(0, (iotix("--check quick.lua")))
  end)

  spec("an unknown parameter is 104, with a suggestion", function()
    local code, _, err = iotix("quick.lua -p rat=5")
    assert.equals(104, code)
    assert.matches("rate", err)
  end)

  spec("bad command lines are 2 and run nothing", function()
    for args, says in pairs {
      ["quick.lua --duraton 5s"] = "did you mean %-%-duration",
      ["quick.lua -d 10"] = "has no unit",
      ["quick.lua --summary-json /nowhere/s.json"] = "/nowhere",
      ["nothere.lua"] = "nothere.lua",
      ["quick.lua other.lua"] = "behind %-%-",
      [""] = "Usage",
    } do
      local code, out, err = iotix(args)
      assert.equals(2, code, args)
      assert.equals("", out)
      assert.matches(says, err)
    end
  end)

  spec("inspect shows the plan, what it needs, and origins", function()
    local code, out = iotix("inspect quick.lua --origins --seed 4")
    assert.equals(0, code)
    assert.matches('"requirements"', out)
    assert.matches('"from": "flag %-%-seed"', out)
  end)

  spec("SCENARIO --help lists the scenario's parameters", function()
    local code, out = iotix("quick.lua --help")
    assert.equals(0, code)
    assert.matches("rate <integer>%s+messages a second", out)
  end)

  spec("configuration files stand below the environment and flags", function()
    write(dir .. "/iotix.toml", "[run]\nseed = 77\nscale = 2.0\n")
    local _, _, err = iotix("quick.lua -d 1s")
    assert.matches("seed 77   %[%./iotix.toml:2%]", err)
    assert.matches("total 6 devices", err)
    _, _, err = iotix("quick.lua -d 1s", "IOTIX_SEED=78")
    assert.matches("seed 78   %[IOTIX_SEED%]", err)
    write(dir .. "/iotix.toml", "sed = 77\n")
    local code
    code, _, err = iotix("quick.lua -d 1s")
    assert.equals(2, code)
    assert.matches('iotix.toml:1: unknown key "sed" %(did you mean "seed"%?%)', err)
    os.remove(dir .. "/iotix.toml")
  end)

  spec("SIGTERM drains, prints the summary and exits 105", function()
    -- Not before it has said that it is running: a busy machine may take its time.
    os.execute(string.format("cd %s && { %s quick.lua -d 60s --progress plain --progress-interval 200ms >out.txt 2>err.txt & "
      .. "pid=$!; for i in $(seq 300); do grep -q 'phase=hold' err.txt && break; sleep 0.1; done; kill -TERM $pid; wait $pid; }",
      quote(dir), quote(run_path)))
    assert.matches("STOPPED  .*%(exit 105%)$", last_line(read(dir .. "/out.txt")))
  end)

  spec("progress json is NDJSON on stderr", function()
    local json = require "cjson"
    local code, _, err = iotix("quick.lua --progress json --progress-interval 500ms")
    assert.equals(0, code)
    local events = {}
    for line in err:gmatch("[^\n]+") do
      local ok, v = pcall(json.decode, line)
      assert.is_true(ok, line)
      events[v.event or "log"] = (events[v.event or "log"] or 0) + 1
    end
    assert.equals(1, events.start)
    assert.is_true(events.progress >= 4)
  end)

  spec("doctor, version, completion and help answer", function()
    for args, says in pairs {
      ["doctor"] = "open files", ["version"] = "libev", ["version --json"] = '"libraries"', ["completion bash"] = "complete %-o",
      ["help"] = "Commands:", ["run --help"] = "%-%-stop%-timeout",
    } do
      local code, out = iotix(args)
      assert.equals(0, code, args)
      assert.matches(says, out)
    end
  end)
end)
