-- Behaviors of a model, every trigger, action and failure, by what a real broker sees of them.
local proc = require "integration.proc"
local cjson = require "cjson"

local MODEL = [[{
  "id": "robot", "name": "Robot", "type": "actuator", "protocol": "mqtt",
  "connection": { "topicPattern": "robots/${deviceId}/telemetry", "qos": 1 },
  "telemetry": [
    { "name": "n", "type": "integer", "intervalMs": 100, "generator": { "type": "sequence", "start": 0, "step": 1 } },
    { "name": "mode", "type": "string", "intervalMs": 100, "generator": { "type": "constant", "value": "idle" } },
    { "name": "battery", "type": "number", "intervalMs": 100, "generator": { "type": "constant", "value": 90 } }
  ],
  "commands": [
    { "name": "mode", "parameters": [ { "name": "mode", "type": "string", "required": true } ] },
    { "name": "wave", "parameters": [ { "name": "times", "type": "integer" } ] },
    { "name": "break", "parameters": [ { "name": "how", "type": "string", "required": true } ] }
  ],
  "behaviors": [
    { "name": "hello", "trigger": { "type": "startup" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/hello", "payload": { "id": "${deviceId}" } } },
    { "name": "tick", "trigger": { "type": "schedule", "schedule": "* * * * * *", "timeZone": "Europe/Berlin" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/tick", "payload": "${timestamp}" } },
    { "name": "ten", "trigger": { "type": "condition", "condition": "n % 10 >= 5", "reset": "n % 10 == 0" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/ten", "payload": "${n}" } },
    { "name": "setMode", "trigger": { "type": "event", "event": "command:mode" },
      "action": { "type": "setState", "state": { "mode": "in ${mode}" } } },
    { "name": "eco", "trigger": { "type": "event", "event": "command:mode:mode=eco" },
      "action": { "type": "log", "message": "${deviceId} saves: ${mode}" } },
    { "name": "moved", "trigger": { "type": "event", "event": "stateChanged" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/state", "payload": { "mode": "${mode}" } } },
    { "name": "waving", "trigger": { "type": "event", "event": "command:wave" },
      "action": { "type": "custom", "handler": "wave", "params": { "hand": "left" } } },
    { "name": "waved", "trigger": { "type": "event", "event": "behavior:waving" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/chained" } },
    { "name": "nap", "trigger": { "type": "event", "event": "command:break:how=nap" },
      "action": { "type": "disconnect", "duration": 700 } },
    { "name": "again", "trigger": { "type": "event", "event": "command:break:how=again" }, "action": { "type": "reconnect" } },
    { "name": "cut", "trigger": { "type": "event", "event": "command:break:how=cut" },
      "action": { "type": "fail", "failure": "disconnect", "params": { "mode": "abrupt" }, "duration": 500 } },
    { "name": "half", "trigger": { "type": "event", "event": "command:break:how=half" },
      "action": { "type": "fail", "failure": "disconnect", "params": { "mode": "halfOpen" }, "duration": 8000 } },
    { "name": "junk", "trigger": { "type": "event", "event": "command:break:how=junk" },
      "action": { "type": "fail", "failure": "errorPayload", "params": { "mode": "types" }, "duration": 500 } },
    { "name": "slow", "trigger": { "type": "event", "event": "command:break:how=slow" },
      "action": { "type": "fail", "failure": "slow", "params": { "delayMs": 800 }, "duration": 2000 } },
    { "name": "clock", "trigger": { "type": "event", "event": "command:break:how=clock" },
      "action": { "type": "fail", "failure": "clockDrift", "params": { "offsetMs": -3600000 }, "duration": 700 } },
    { "name": "flat", "trigger": { "type": "event", "event": "command:break:how=flat" },
      "action": { "type": "fail", "failure": "batteryDrain",
                  "params": { "attribute": "battery", "perSecond": 100, "from": 60, "rebootMs": 300 } } },
    { "name": "boot", "trigger": { "type": "event", "event": "command:break:how=boot" },
      "action": { "type": "fail", "failure": "reboot", "params": { "bootMs": 300, "sequence": [ "BIOS", { "ready": true } ] } } },
    { "name": "stale", "trigger": { "type": "event", "event": "command:break:how=stale" },
      "action": { "type": "fail", "failure": "staleToken", "duration": 700 } },
    { "name": "twin", "trigger": { "type": "event", "event": "command:break:how=twin" },
      "action": { "type": "fail", "failure": "duplicateId", "duration": 600 } },
    { "name": "sick", "trigger": { "type": "event", "event": "failure:slow" },
      "action": { "type": "log", "message": "${deviceId} is slow" } },
    { "name": "well", "trigger": { "type": "event", "event": "recovered:slow" },
      "action": { "type": "publish", "topic": "robots/${deviceId}/well" } }
  ]
}]]

-- How mosquitto 2.0 logs a connection that ended without a DISCONNECT; the second when it was just writing.
local CUT = { "Client iotix-r-1 closed its connection.", "Client iotix-r-1 disconnected due to out of memory." }

local SCENARIO = [[
local iotix = require "iotix"
local robots = iotix.group {
  name = "r", model = "robot", count = 1,
  connection = iotix.mqtt { username = "robot", password = "right", keep_alive = "1s", reconnect = { initial = "50ms", max = "200ms" } },
  handlers = {
    wave = function(dev, params, what)
      dev:publish("robots/r-1/wave", { hand = params.hand, times = what.params.times, behavior = what.behavior })
    end,
  },
}
return iotix.scenario { name = "spec", duration = "120s", groups = { robots } }
]]

describe("behaviors of a model", function()
  local broker, heard, run, dir

  setup(function()
    dir = proc.dir()
    proc.shell(proc.command { "mosquitto_passwd", "-b", "-c", dir .. "/passwords", "robot", "right" })
    broker = proc.mosquitto("password_file " .. dir .. "/passwords\nlog_type all")
    if not broker then return end
    heard = proc.listen(broker, "#", "%U %t %p")
    proc.write(dir .. "/robot.json", MODEL)
    run = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", SCENARIO), "-b", broker.url, "--seed", "3",
      "--summary-json", dir .. "/sum.json", "-v" })
  end)
  teardown(proc.cleanup)

  -- What the subscriber, or the broker's log, says from here on.
  local function from_now()
    local h, b = #heard.out(), #broker.err() + 0
    local self = {}
    function self.heard() return heard.out():sub(h + 1) end
    function self.broker() return broker.err():sub(b + 1) end
    function self.hears(pattern, seconds)
      local a
      assert(proc.wait(seconds or 10, function() a = { self.heard():match(pattern) } return a[1] end),
        "nobody heard " .. pattern .. " in\n" .. self.heard():sub(-1500) .. run.err():sub(-1500))
      return unpack(a)
    end
    -- One of several texts.
    function self.sees(...)
      local texts = { ... }
      assert(proc.wait(10, function()
        for _, text in ipairs(texts) do
          if self.broker():find(text, 1, true) then return true end
        end
      end), "the broker did not say " .. table.concat(texts, " or ") .. ":\n" .. self.broker():gsub("[^\n]*PUB[^\n]*\n", ""):sub(-2000))
    end
    return self
  end

  local function command(name, params)
    local at = from_now()
    assert.are.equal(0, proc.shell(proc.command { "mosquitto_pub", "-p", broker.port, "-q", "1",
      "-t", "r/r-1/commands/" .. name, "-m", cjson.encode(params) }).code)
    return at
  end

  -- The robot is there and well.
  local function is_well()
    from_now().hears "telemetry {\"n\":%d+,\"mode\":\"[^\"]*\",\"battery\":90,\"timestamp\":%d+}\n"
  end

  local function case(name, fn)
    it(name, function()
      if not broker then return pending("mosquitto is not installed") end
      fn()
      is_well()
    end)
  end

  case("fire at startup, by the clock and on conditions", function()
    local all = { hears = function(p) local s = proc.wait(10, function() return heard.out():match(p) end) return assert(s, p) end }
    all.hears 'robots/r%-1/hello {"id":"r%-1"}\n'
    local second = from_now().hears "robots/r%-1/tick (%d+)\n"
    assert.is_true(tonumber(second) % 1000 < 500, "on the second: " .. second)
    local a, b = from_now().hears "/ten (%d+)\n.*/ten (%d+)\n"
    assert.are.equal(5, a % 10) -- the first value at which it holds
    assert.are.equal(10, b - a) -- and not again before its reset
  end)

  case("set states by commands, log, chain and call Lua", function()
    local at = command("mode", { mode = "eco" })
    at.hears '/state {"mode":"in eco"}\n'
    at.hears '/telemetry {"n":%d+,"mode":"in eco"'
    assert(proc.wait(5, function() return run.err():find("r-1 saves: eco", 1, true) end), run.err())
    at = command("wave", { times = 3 })
    local wave = cjson.decode((at.hears "robots/r%-1/wave ({[^\n]*})\n"))
    assert.are.same({ hand = "left", times = 3, behavior = "waving" }, wave)
    at.hears '/chained {"behavior":"waved","timestamp":%d+}\n'
  end)

  case("disconnect for a while, and reconnect", function()
    local at = command("break", { how = "nap" })
    at.sees "Client iotix-r-1 disconnected."
    at.sees "New client connected from"
    at.hears "telemetry"
    at = command("break", { how = "again" })
    -- The new connection may come in the same turn of the broker as the end of the old one.
    at.sees("Client iotix-r-1 disconnected.", "Client iotix-r-1 already connected, closing old connection.")
    at.sees "as iotix-r-1"
  end)

  case("cut the connection", function()
    local at = command("break", { how = "cut" })
    at.sees(unpack(CUT)) -- no DISCONNECT
    at.sees "as iotix-r-1"
  end)

  case("leave it half-open until the broker gives up", function()
    local at = command("break", { how = "half" })
    at.sees "Client iotix-r-1 has exceeded timeout, disconnecting." -- it looks every five seconds
    at.sees "as iotix-r-1"
  end)

  case("publish what is broken", function()
    command("break", { how = "junk" }).hears '/telemetry {"n":"%d+","mode":%d+,"battery":"90","timestamp":"%d+"}\n'
  end)

  case("publish late, and say when they are well again", function()
    local at = command("break", { how = "slow" })
    local arrived, made = at.hears('/well.*\n(%d+%.%d+) [^\n]*"timestamp":(%d+)}\n')
    assert.is_true(arrived * 1000 - made < 700, "no longer late")
    local most = 0
    for when, stamp in at.heard():match("^(.-)/well"):gmatch('(%d+%.%d+) [^\n]*/telemetry [^\n]*"timestamp":(%d+)}') do
      most = math.max(most, when * 1000 - stamp)
    end
    assert.is_true(most >= 790, "late by " .. most)
    assert.is_truthy(run.err():find("r-1 is slow", 1, true))
  end)

  case("have a wrong clock", function()
    local at = command("break", { how = "clock" })
    assert(proc.wait(5, function()
      for when, stamp in at.heard():gmatch('(%d+%.%d+) [^\n]*/telemetry [^\n]*"timestamp":(%d+)}') do
        if math.abs(when * 1000 - stamp - 3600000) < 2000 then return true end
      end
    end), at.heard())
  end)

  case("run out of battery", function()
    local at = command("break", { how = "flat" })
    at.hears '"battery":[1-5]%d[%d.]*,'
    at.sees(unpack(CUT))
    at.hears '/hello .*"battery":90,' -- it boots with a fresh one
  end)

  case("reboot", function()
    local at = command("break", { how = "boot" })
    at.sees(unpack(CUT))
    local rest = at.hears '/boot BIOS\n[^\n]*/boot {"ready":true}\n(.*battery":90)'
    assert.is_truthy(rest:find '{"n":0,"mode":"idle"') -- what was set is forgotten, the values begin anew
  end)

  case("log in with a stale password", function()
    local at = command("break", { how = "stale" })
    at.sees "not authorised"
    at.sees "as iotix-r-1 (p2, c1, k1, u'robot')"
  end)

  case("fight over their client id", function()
    local at = command("break", { how = "twin" })
    at.sees "Client iotix-r-1 already connected, closing old connection."
  end)

  it("are counted", function()
    if not broker then return pending("mosquitto is not installed") end
    run.signal(2)
    assert.is_not_nil(run.wait(20))
    local fired, failures, errors = 0, {}, 0
    for _, m in ipairs(cjson.decode(proc.read(dir .. "/sum.json")).metrics) do
      if m.name == "behaviors_fired" then fired = math.max(fired, m.values.count) end
      if m.name == "behavior_errors" then errors = math.max(errors, m.values.count) end
      if m.name == "failures" and m.tags.kind then failures[m.tags.kind] = m.values.count end
    end
    assert.is_true(fired > 30)
    assert.are.same({ disconnect = 2, errorPayload = 1, slow = 1, clockDrift = 1, batteryDrain = 1, reboot = 1, staleToken = 1,
      duplicateId = 1 }, failures)
  end)
end)
