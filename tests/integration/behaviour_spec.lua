-- Behaviours in Lua over a real broker: commands of machines, actuators and gateways, reconnects, and failures begun by a script.
local proc = require "integration.proc"
local cjson = require "cjson"

local function run(behaviour, test, more)
  local dir = proc.dir()
  local text = string.format([[
local iotix, gen = require "iotix", require "iotix.gen"
local g = iotix.group { name = "g", qos = 1, %s behaviour = %s }
return iotix.scenario { name = "b", groups = { g }, test = function(run)
  local group, e = run:group("g"), iotix.expect
  assert(group:wait("online", 1, "10s"))
  -- Sends a command and returns the answer.
  local function ask(name, params, topic, answer)
    ids = (ids or 0) + 1
    local id = "id" .. ids
    return e.message { topic = answer or group:topic(1, "response"), within = "5s",
      where = function(m) return m.json and m.json.id == id end,
      trigger = function() run:publish(topic or group:topic(1, "command"), { command = name, params = params or iotix.json.decode("{}"), id = id }, { qos = 1 }) end }.json
  end
  local function is(a, expected) e(iotix.json.encode(a)):equals(expected) end
%s
end }
]], more or "", behaviour, test)
  text = text:gsub("local group, e =", "local ids\n  local group, e =")
  local r = proc.run({ proc.write(dir .. "/s.lua", text), "-q", "--summary-json", dir .. "/sum.json" }, 40)
  r.text = r.err .. r.out
  r.summary = cjson.decode(proc.read(dir .. "/sum.json") or "{}")
  return r
end

local function metric(r, name)
  local sum = 0
  for _, m in ipairs(r.summary.metrics or {}) do
    if m.name == name then sum = sum + (m.values.count or 0) end
  end
  return sum
end

local HERE = [[iotix.sleep("300ms")]] -- the command topic is subscribed right after the connect

describe("a state machine on a broker", function()
  teardown(proc.cleanup)

  it("takes commands as events, answers with what the action returns, and hears connects", function()
    local r = run([[function(dev)
      local fsm = iotix.fsm { initial = "closed", states = {
        closed = { on = { ["command:open"] = { target = "open", action = function(dev, c, event)
            c.n = (c.n or 0) + 1 dev:sleep("200ms") return { opened = c.n, by = event.data.params.by } end },
          ["command:lock"] = "locked", connect = function(dev) dev:publish("heard", "connect") end } },
        open = { on = { ["command:close"] = "closed", ["command:refuse"] = function() return nil, "no", "range", "x" end } },
        locked = { final = true } } }
      local m = fsm:start(dev)
      assert(m:bind(dev))
      assert(dev:connect())
    end]], HERE .. [[
      is(ask("open", { by = "me" }), '{"by":"me","id":"id1","opened":1}')
      is(ask("open"), '{"code":"state","command":"open","error":"command \\"open\\" is not taken in state \\"open\\"","id":"id2","ok":false}')
      is(ask("opne"), '{"code":"unknown","command":"opne","error":"unknown command \\"opne\\"; valid: close, lock, open, refuse; did you mean \\"open\\"?","id":"id3","ok":false}')
      is(ask("refuse"), '{"code":"range","command":"refuse","error":"no","id":"id4","ok":false,"parameter":"x"}')
      is(ask("close"), '{"command":"close","id":"id5","ok":true,"result":{"state":"closed"}}')
      is(ask("lock"), '{"command":"lock","id":"id6","ok":true,"result":{"state":"locked"}}')
      is(ask("open"), '{"code":"state","command":"open","error":"fsm has ended: it reached its final state locked","id":"id7","ok":false}')]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(4, metric(r, "command_errors"))
    assert.are.equal(7, metric(r, "commands_received"))
  end)

  it("is restarted with its device when an action of a command fails", function()
    local r = run([[function(dev)
      local fsm = iotix.fsm { initial = "a", states = { a = { on = { ["command:die"] = function() error("broken") end, ["command:ping"] = function() return "pong" end } } } }
      assert(fsm:start(dev):bind())
      assert(dev:connect())
    end]], HERE .. [[
      run:publish(group:topic(1, "command"), { command = "die" }, { qos = 1 })
      assert(group:wait("error", 1, "5s"))
      assert(group:wait("online", 1, "10s"))]] .. HERE .. [[
      is(ask("ping"), '{"id":"id1","ok":true,"result":"pong"}')]], "on_error = 'restart',")
    assert.are.equal(0, r.code, r.text)
    assert.is_truthy(r.text:find('fsm: state "a", event "command:die", action: ', 1, true), r.text)
  end)

  it("runs the example", function()
    local r = proc.run({ proc.root .. "/scenarios/thermostat-fsm.lua", "-q", "--shards", "2" }, 60)
    assert.are.equal(0, r.code, r.err .. r.out)
  end)
end)

describe("an actuator on a broker", function()
  teardown(proc.cleanup)

  local VALVE = [[iotix.behaviour.actuator {
    state = { position = 0, moves = 0 }, delay = %s, retain = true,
    commands = {
      set = { params = { position = { type = "integer", required = true, min = 0, max = 100 }, speed = { values = { "slow", "fast" }, default = "slow" } },
        run = function(dev, state, params)
          state.position, state.moves = params.position, state.moves + 1
          return { at = params.position, speed = params.speed }
        end },
      fail = { run = function() error("jammed", 0) end },
      refuse = { run = function() return nil, "not now" end },
    } }]]

  it("checks parameters, answers, publishes its state when it changed and at each connect", function()
    local r = run(VALVE:format('"50ms"'), [[
      e.message { topic = "g/g-1/state", within = "5s", where = function(m) return m.json.moves == 0 end } -- of the connect
      e.message { topic = "g/g-1/state", within = "5s", where = function(m) return m.json.moves == 1 end, trigger = function() ]] .. HERE .. [[
        is(ask("set", { position = 42 }), '{"command":"set","id":"id1","ok":true,"result":{"at":42,"speed":"slow"}}') end }
      local function refused(params, code, parameter, text, name)
        local a = ask(name or "set", params)
        e(a.ok):equals(false) e(a.code):equals(code) e(a.parameter):equals(parameter) e(a.error):equals(text)
      end
      refused({}, "missing", "position", 'parameter "position" is missing')
      refused({ position = "x" }, "type", "position", 'parameter "position": expected an integer, got "x"')
      refused({ position = 1.5 }, "type", "position", 'parameter "position": expected an integer, got 1.5')
      refused({ position = 101 }, "range", "position", 'parameter "position": at most 100, got 101')
      refused({ position = -1 }, "range", "position", 'parameter "position": at least 0, got -1')
      refused({ position = 1, speed = "mad" }, "range", "speed", 'parameter "speed": one of slow, fast, got "mad"')
      refused({ posittion = 1 }, "unknown", "posittion", 'unknown parameter "posittion"; valid: position, speed; did you mean "position"?')
      refused({}, "unknown", nil, 'unknown command "sett"; valid: fail, refuse, set; did you mean "set"?', "sett")
      refused({}, "handler", nil, "jammed", "fail")
      refused({}, "handler", nil, "not now", "refuse")
      is(ask("set", { position = 7, speed = "fast" }), '{"command":"set","id":"id12","ok":true,"result":{"at":7,"speed":"fast"}}')]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(10, metric(r, "command_errors"))
    assert.is_truthy(r.text:find("command fail: jammed", 1, true), r.text)
  end)

  it("does one thing at a time, in order, and refuses what is too much", function()
    local r = run(VALVE:format('"100ms"'), HERE .. [[
      local answers = e.message { topic = group:topic(1, "response"), within = "10s", count = 20, trigger = function()
        for i = 1, 20 do run:publish(group:topic(1, "command"), { command = "set", params = { position = i }, id = i }, { qos = 1 }) end
      end }
      local done, busy = {}, 0
      for _, m in ipairs(answers) do
        if m.json.ok then done[#done + 1] = m.json.result.at else busy = busy + 1 e(m.json.code):equals("busy") end
      end
      e(table.concat(done, " ")):equals("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17")
      e(busy):equals(3)]])
    assert.are.equal(0, r.code, r.text)
  end)
end)

describe("a gateway on a broker", function()
  teardown(proc.cleanup)

  it("routes commands to its children", function()
    local r = run([[iotix.behaviour.gateway { children = { "a", "b" }, on_command = function(dev, child, cmd)
      if cmd.name ~= "add" then return nil, "only add", "unknown" end
      child.state.sum = (child.state.sum or 0) + cmd.params.n
      return { id = cmd.id, child = child.id, sum = child.state.sum }
    end }]], HERE .. [[
      local function tell(child, name, n) return ask(name, { n = n }, "g/g-1/" .. child .. "/command", "g/g-1/" .. child .. "/response") end
      is(tell("a", "add", 2), '{"child":"a","id":"id1","sum":2}')
      is(tell("a", "add", 3), '{"child":"a","id":"id2","sum":5}')
      is(tell("b", "add", 4), '{"child":"b","id":"id3","sum":4}')
      e(tell("b", "sub", 4).code):equals("unknown")
      e(tell("c", "add", 4).error):equals('unknown child "c"')]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(2, metric(r, "command_errors"))
  end)
end)

describe("a failure begun by a script", function()
  teardown(proc.cleanup)

  it("begins, ends by itself or when healed, and is counted", function()
    local r = run([[function(dev)
      assert(dev:connect())
      dev:publish("up", "1")
      dev:sleep("300ms")
      assert(dev:fail("disconnect", { mode = "abrupt", duration = "500ms" }))
      assert(dev:wait("disconnect", "2s") or dev.connection ~= "connected")
      assert(dev:wait("connect", "5s"))
      dev:publish("back", "1")
      assert(dev:fail("disconnect"))
      dev:sleep("300ms")
      assert(dev.connection == "disconnected")
      local ok, why = dev:connect() assert(ok == nil) dev:log("error", "kept off: " .. why)
      assert(dev:heal("disconnect"))
      if dev.connection ~= "connected" then assert(dev:wait("connect", "5s")) end
      assert(dev:fail("slow", { delay = "700ms" }))
      local before = iotix.now()
      dev:publish("late", { t = before })
      dev:sleep("1s")
      assert(dev:heal())
      assert(dev:fail("clockDrift", { offset = -3600, ppm = 100 }))
      dev:publish("healed", "1")
      dev:sleep("1h")
    end]], [[
      e.message { topic = "g/g-1/back", within = "10s" }
      local late = e.message { topic = "g/g-1/late", within = "10s" }
      e(iotix.now() - late.json.t):at_least(0.6)
      e.message { topic = "g/g-1/healed", within = "10s" }]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal(4, metric(r, "failures"))
    assert.is_truthy(r.text:find("kept off: ", 1, true), r.text)
  end)

  it("says what is wrong with a call, at the line of the call", function()
    for call, expected in pairs {
      [ [[dev:fail("explode")]] ] = "dev:fail: kind: expected one of disconnect, errorPayload, slow, clockDrift, ",
      [ [[dev:fail("slwo")]] ] = 'did you mean "slow"?',
      [ [[dev:fail()]] ] = "dev:fail: kind: expected one of",
      [ [[dev:fail("slow", { dealy = "1s" })]] ] = 'dev:fail: unknown key "dealy"; valid: duration, delay; did you mean "delay"?',
      [ [[dev:fail("slow", { delay = "soon" })]] ] = "dev:fail: delay: ",
      [ [[dev:fail("slow", { duration = "1s", mode = "clean" })]] ] = 'unknown key "mode"; valid: duration, delay',
      [ [[dev:fail("disconnect", { mode = "gentle" })]] ] = 'unknown mode "gentle"; valid: clean, abrupt, halfOpen',
      [ [[dev:fail("batteryDrain", { attribute = "b", per_second = 1 })]] ] = 'unknown attribute "b"',
      [ [[dev:fail("slow", 5)]] ] = "table expected, got number",
      [ [[dev:heal("all")]] ] = "dev:heal: kind: expected one of disconnect",
    } do
      local r = run("function(dev)\n assert(dev:connect())\n " .. call .. "\nend", "iotix.sleep('5s')", "on_error = 'fail',")
      assert.are_not.equal(0, r.code, call .. r.text)
      assert.is_truthy(r.text:find(expected, 1, true), call .. "\nexpected " .. expected .. "\n" .. r.text)
      assert.is_truthy(r.text:find("s.lua:4: ", 1, true), call .. "\n" .. r.text)
    end
  end)
end)
