-- iotix.fsm: what a machine does, in virtual time; what is wrong with a definition, where it is and what would be right.
-- luacheck: no max line length
local proc = require "integration.proc"
local cjson = require "cjson"

-- Runs the body of a behaviour, in virtual time: { code, err, [topic] = list of payloads in order }
local function play(definition, body, more)
  more = more or {}
  local dir = proc.dir()
  local text = string.format([[
local iotix = require "iotix"
local log
local fsm = iotix.fsm %s
local g = iotix.group { name = "g", count = %d, %s behaviour = function(dev)
  assert(dev:connect())
  local function say(text) dev:publish("say", tostring(text)) end
  %s
end }
return iotix.scenario { name = "fsm", duration = "%s", groups = { g } }
]], definition, more.count or 1, more.group or "", body, more.duration or "5m")
  text = text:gsub("local log\n", "local function log(what) return function(dev) dev:publish('say', what) end end\n")
  local r = proc.run({ proc.write(dir .. "/s.lua", text), "--virtual", "--from", "2026-01-01", "--seed", tostring(more.seed or 1), "-q",
    "--shards", tostring(more.shards or 1), "--sink", "ndjson=" .. dir .. "/out" }, 40)
  r.says, r.times, r.raw = {}, {}, proc.read(dir .. "/out") or ""
  for line in r.raw:gmatch("[^\n]+") do
    local m = cjson.decode(line)
    r.says[#r.says + 1] = m.payload
    r.times[#r.times + 1] = m.time:match("T(%d+:%d+:%d+)")
  end
  r.text = r.err .. r.out
  return r
end

local function said(r) return table.concat(r.says, " ") end

describe("a state machine", function()
  teardown(proc.cleanup)

  it("runs exit, action and entry in this order, guards first, and each event to its end", function()
    local r = play([[{ initial = "idle", context = { n = 0 },
      entry = log "start",
      states = {
        idle = { entry = log "+idle", exit = log "-idle", on = {
          go = { { target = "busy", guard = function(_, c) return c.n > 0 end, action = log "wrong" },
                 { target = "busy", action = function(dev, c, e, m)
                   c.n = c.n + e.data
                   dev:publish("say", m:state() .. "/" .. e.name .. "/" .. c.n)
                   assert(m:send("stop"))        -- queued: no reentrancy
                   dev:publish("say", "still")
                 end } },
          note = function(dev) dev:publish("say", "noted") end,
        } },
        busy = { entry = function(dev) dev:publish("say", "+busy") dev:sleep("2s") dev:publish("say", "slept") end, exit = log "-busy",
          on = { stop = "idle", go = "idle" } },
      } }]], [[
      local m = fsm:start(dev)
      assert(m:state() == "idle")
      m:send("note") m:send("go", 5)
      assert(m:wait("busy", "10s"))
      assert(m:wait("idle", "10s"))
      assert(m.context.n == 5)
      dev:sleep("10s") say(m:state()) m:send("go", 1) assert(m:wait("busy"))
      say("end")]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("start +idle noted -idle idle/go/5 still +busy slept -busy +idle idle -idle wrong +busy slept end", said(r))
  end)

  it("has states inside states: inner transitions first, parents for the rest, leaving and entering what is between", function()
    local r = play([[{ initial = "off", on = { reset = "off" }, states = {
      off = { on = { power = "heating" } },
      heating = { entry = log "+heating", exit = log "-heating", initial = "ramping",
        on = { power = "off", again = "heating", jump = "holding", ping = log "outer" },
        states = {
          ramping = { entry = log "+ramping", exit = log "-ramping", on = { there = "holding", ping = log "inner" } },
          holding = { entry = log "+holding", exit = log "-holding", on = { cold = "heating.ramping", deep = "off" } },
        } },
    } }]], [[
      local m = fsm:start(dev)
      local function send(...) for _, e in ipairs { ... } do say("(" .. e .. ")") m:send(e) dev:sleep("1ms") end end
      send("power", "ping", "there", "ping", "cold", "jump", "again")
      assert(m:state() == "heating.ramping" and m:is("heating") and m:is("heating.ramping") and not m:is("off"))
      assert(m:matches("off", "heating") and not m:matches("off", "heating.holding"))
      send("power", "ping", "power", "reset")
      assert(m:state() == "off")]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("(power) +heating +ramping (ping) inner (there) -ramping +holding (ping) outer (cold) -holding +ramping "
      .. "(jump) -ramping +holding (again) -holding -heating +heating +ramping (power) -ramping -heating (ping) (power) +heating +ramping "
      .. "(reset) -ramping -heating", said(r))
  end)

  it("comes back to where it was, with history", function()
    local function tree(kind)
      return [[{ initial = "a", states = { off = { on = { back = "a" } },
        a = { history = "]] .. kind .. [[", initial = "b", on = { off = "off" }, states = {
          b = { on = { next = "c" } },
          c = { initial = "d", states = { d = { on = { next = "e" } }, e = {} } } } } } }]]
    end
    local body = [[
      local m = fsm:start(dev)
      for _, e in ipairs { "next", "next", "off", "back" } do m:send(e) dev:sleep("1ms") end
      say(m:state())]]
    assert.are.equal("a.c.d", said(play(tree "shallow", body)))
    assert.are.equal("a.c.e", said(play(tree "deep", body)))
  end)

  it("moves by time, within ranges the same for a seed on any number of shards", function()
    local definition = [[{ initial = "a", states = {
      a = { after = { ["30s"] = "b", ["50s"] = "never" }, on = { never = "never" } },
      b = { after = { ["10s..20s"] = { target = "a", action = log "drawn" }, [{ "1s", "2s" }] = log "stay" } },
      never = { entry = log "never" } } }]]
    local body = [[local m = fsm:start(dev)]]
    local one = play(definition, body, { count = 7 })
    assert.are.equal(0, one.code, one.text)
    assert.is_truthy(#one.says >= 7 * 2 * 5)
    assert.is_nil(said(one):find("never"))
    local distinct = {}
    for _, at in ipairs(one.times) do distinct[at] = true end
    local n = 0
    for _ in pairs(distinct) do n = n + 1 end
    assert.is_true(n > 20, "random delays")
    assert.are.equal(one.raw, play(definition, body, { count = 7, shards = 3 }).raw)
    assert.are_not.equal(one.raw, play(definition, body, { count = 7, seed = 2 }).raw)
  end)

  it("measures the time of a state from its entry, though the entry takes its time, and forgets it on the way out", function()
    local r = play([[{ initial = "a", states = {
      a = { entry = function(dev) dev:sleep("20s") dev:publish("say", "entered") end, after = { ["10s"] = "b" } },
      b = { entry = log "b", after = { ["60s"] = "c" }, on = { again = "b" } }, c = { entry = log "c" } } }]], [[
      local m = fsm:start(dev)
      assert(m:wait("b", "25s"))
      dev:sleep("40s") m:send("again")
      local ok, _, code = m:wait("c", "50s") assert(not ok and code == "timeout")
      assert(m:wait("c", "20s"))]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("entered b b c", said(r))
    assert.are.equal("00:00:20 00:00:20 00:01:00 00:02:00", table.concat(r.times, " "))
  end)

  it("ends in a final state, and tells a parent of one inside it", function()
    local r = play([[{ initial = "work", states = {
      work = { initial = "one", on = { ["done:work"] = { target = "over", action = log "all done" } }, states = {
        one = { after = { ["1s"] = "two" } }, two = { final = true, entry = log "two" } } },
      over = { final = true, entry = log "over" } }, on = { late = "work" } }]], [[
      local m = fsm:start(dev)
      assert(m:wait(nil, "10s"))
      assert(m:ended() and m:is("over") and m:wait("over") and m:wait())
      local ok, why, code = m:send("late") assert(ok == nil and code == "closed") say(why)
      ok, why, code = m:wait("work") assert(ok == nil and code == "closed") say(why)
      assert(not m:stop())
      local n = fsm:start(dev) iotix.spawn(function() dev:sleep("100ms") n:stop() end)
      ok, why, code = n:wait("over") assert(ok == nil and code == "closed") say(why)]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("two all done over fsm has ended: it reached its final state over fsm has ended: it reached its final state over "
      .. "fsm has ended: it was stopped", said(r))
  end)

  it("stopped drops the action that is under way, its timers and its events", function()
    local r = play([[{ initial = "a", states = {
      a = { entry = function(dev) dev:sleep("10s") dev:publish("say", "no") end, exit = log "no", after = { ["5s"] = log "no" }, on = { x = log "no" } } } }]], [[
      local m = fsm:start(dev)
      dev:sleep("1s") m:send("x") m:stop() dev:sleep("1m") say("end")]])
    assert.are.equal(0, r.code, r.text)
    assert.are.equal("end", said(r))
  end)

  it("gives each device its own context, or the one it is started with", function()
    local r = play([[{ initial = "a", context = { list = {} }, states = { a = { entry = function(dev, c) c.list[#c.list + 1] = dev.index end } } }]], [[
      local m, own = fsm:start(dev), { list = { 7, 8 } }
      local n = fsm:start(dev, own)
      dev:sleep("1s") say(#m.context.list .. "/" .. #own.list .. "/" .. tostring(n.context == own))]], { count = 3 })
    assert.are.equal("1/3/true 1/3/true 1/3/true", said(r))
  end)

  it("ends the behaviour when an action fails, with the place, and the group's policy applies", function()
    for what, definition in pairs {
      ["entry"] = [[{ name = "heater", initial = "a", states = { a = { on = { go = "b" } }, b = { entry = function() error("broken") end } } }]],
      ["exit"] = [[{ name = "heater", initial = "a", states = { a = { exit = function() error("broken") end, on = { go = "b" } }, b = {} } }]],
      ["action"] = [[{ name = "heater", initial = "a", states = { a = { on = { go = { action = function() local x = nil; return x.y end } } } } }]],
      ["guard"] = [[{ name = "heater", initial = "a", states = { a = { on = { go = { target = "a", guard = function() error("broken") end } } } } }]],
    } do
      local r = play(definition, [[local m = fsm:start(dev) m:send("go") dev:sleep("1s") say("no")]], { group = "on_error = 'fail'," })
      assert.are_not.equal(0, r.code, what .. r.text)
      assert.are.equal("", said(r))
      local state = what == "entry" and "b" or "a"
      local expected = 'fsm "heater": state "' .. state .. '", event "go", ' .. what .. ": "
      assert.is_truthy(r.text:find(expected, 1, true), what .. ": " .. r.text)
      assert.is_truthy(r.text:find("s.lua:3: " .. (what == "action" and "attempt to index" or "broken")), what .. ": " .. r.text)
    end
  end)

  it("says what is wrong with a call, at the line of the call", function()
    for call, expected in pairs {
      [ [[m:send("gp")]] ] = 'machine:send: fsm has no event "gp"; it has: go; did you mean "go"?',
      [ [[m:send(nil)]] ] = "machine:send: fsm has no event nil",
      [ [[m:is("bb")]] ] = 'machine:is: fsm has no state "bb"; it has: a, b; did you mean "b"?',
      [ [[m:matches("a", "x")]] ] = 'machine:matches: fsm has no state "x"',
      [ [[m:wait("x")]] ] = 'machine:wait: fsm has no state "x"',
      [ [[m:wait("b", "soon")]] ] = "machine:wait: timeout: ",
      [ [[fsm.start(dev)]] ] = "fsm:start: call it as fsm:start(…), with a colon",
      [ [[fsm:start(5)]] ] = "fsm:start: expected a device, got a number",
      [ [[fsm:start(dev, 5)]] ] = "fsm:start: context: expected a table, got a number",
      [ [[m:bind() m:bind()]] ] = "machine:bind: the machine is bound already",
      [ [[fsm.x = 1]] ] = "a state machine: cannot be changed",
    } do
      local r = play([[{ initial = "a", states = { a = { on = { go = "b" } }, b = {} } }]], "local m = fsm:start(dev)\n" .. call,
        { group = "on_error = 'fail'," })
      assert.are_not.equal(0, r.code, call .. r.text)
      assert.is_truthy(r.text:find(expected, 1, true), call .. ": " .. r.text)
      assert.is_truthy(r.text:find("s.lua:8: " .. expected, 1, true), call .. ": " .. r.text)
    end
  end)

  it("refuses to wait inside its own action, and more than 1,000 events", function()
    local r = play([[{ initial = "a", states = { a = { on = { go = function(_, _, _, m) m:wait("b") end } }, b = {} } , on = { b = "b" } }]],
      [[local m = fsm:start(dev) m:send("go") dev:sleep("1s")]])
    assert.is_truthy(r.text:find("an action of the machine itself would wait for ever", 1, true), r.text)
    r = play([[{ initial = "a", states = { a = { entry = function(dev) dev:sleep("1s") end, on = { go = function() end } } } }]], [[
      local m, n = fsm:start(dev), 0
      dev:sleep("1ms")
      while true do
        local ok, why, code = m:send("go")
        if not ok then say(n .. " " .. code .. " " .. why) break end
        n = n + 1
      end
      dev:sleep("2s") assert(m:send("go")) say("goes on")]])
    assert.are.equal("1000 limit fsm: 1000 events wait already goes on", said(r))
  end)

  it("is for the device it was started for", function()
    local file = proc.write(proc.dir() .. "/s.lua", [[
local iotix = require "iotix"
local fsm = iotix.fsm { initial = "a", states = { a = { on = { go = function() end } } } }
local other
local g = iotix.group { name = "g", count = 2, on_error = "fail", behaviour = function(dev)
  assert(dev:connect())
  if dev.index == 1 then other = fsm:start(dev) dev:sleep("1m") end
  dev:sleep("1s")
  other:send("go")
end }
return iotix.scenario { name = "fsm", duration = "10s", groups = { g } }]])
    local r = proc.run({ file, "--virtual", "--shards", "1", "-q", "--sink", "ndjson=-" }, 20)
    assert.is_truthy(r.err:find("s.lua:8: machine:send: this is the handle of another device", 1, true), r.err)
  end)

  it("is drawn by Graphviz", function()
    local file = proc.write(proc.dir() .. "/s.lua", [[
local iotix = require "iotix"
local fsm = iotix.fsm { name = "heater", initial = "off", states = {
  off = { on = { power = { target = "on", guard = function() return true end, action = function() end } } },
  on = { initial = "low", history = "deep", states = { low = { after = { ["30s"] = "high" } }, high = { final = true } }, on = { power = "off" } } } }
print(fsm:dot())
local g = iotix.group { name = "g", behaviour = fsm:behaviour() }
return iotix.scenario { name = "fsm", duration = "1s", groups = { g } }]])
    local r = proc.run({ "check", file }, 20)
    assert.are.equal(0, r.code, r.err)
    for _, line in ipairs {
      'digraph "heater" {', 'subgraph "cluster_on" {', 'label="on (deep history)"', '"on.high" [label="high", peripheries=2]', '"" -> "off"',
      '"off" -> "on.low" [label="power [guard] / action", lhead="cluster_on"]', '"on.low" -> "on.high" [label="after:30s"]',
      '"on.low" -> "off" [label="power", ltail="cluster_on"]',
    } do assert.is_truthy((r.err .. r.out):find(line, 1, true), line .. "\n" .. r.err .. r.out) end
  end)
end)

describe("a definition", function()
  teardown(proc.cleanup)

  local function check(definition)
    local file = proc.write(proc.dir() .. "/s.lua", 'local iotix = require "iotix"\n\nlocal fsm = iotix.fsm ' .. definition .. [[

local g = iotix.group { name = "g", behaviour = fsm:behaviour() }
return iotix.scenario { name = "fsm", duration = "1s", groups = { g } }]])
    return proc.run({ "check", file }, 20)
  end

  it("that is wrong is refused with the line of the call, what is wrong and what would be right", function()
    local A = "states = { a = {} }"
    for definition, expected in pairs {
      ["{}"] = "iotix.fsm: states is missing",
      ["{ initial = 'a', states = {} }"] = "iotix.fsm: states: at least one is needed",
      ["{ " .. A .. " }"] = "iotix.fsm: initial is missing: the state it begins in, one of a",
      ["{ initial = 'b', " .. A .. " }"] = 'iotix.fsm: initial: there is no state "b" in it; it has: a',
      ["{ name = 'x', inital = 'a', " .. A .. " }"] = 'iotix.fsm "x": unknown key "inital"; valid: after, context, entry, exit, initial, name, '
        .. 'on, states; did you mean "initial"?',
      ["{ initial = 'a', states = { a = { entri = print } } }"] = 'iotix.fsm: state "a": unknown key "entri"; valid: after, entry, exit, final, '
        .. 'history, initial, on, states; did you mean "entry"?',
      ["{ initial = 'a', states = { a = { entry = 5 } } }"] = 'iotix.fsm: state "a": entry: expected a function, got 5',
      ["{ initial = 'a', states = { a = 5 } }"] = 'iotix.fsm: state "a": expected a table { … }, got 5',
      ["{ initial = 'a', states = { ['a.b'] = {} } }"] = 'states: a state is named by letters, digits, - and _ (at most 64), got "a.b"',
      ["{ initial = 'idle', states = { idle = { on = { go = 'idel' } } } }"] = 'iotix.fsm: state "idle", event "go": there is no state "idel"; '
        .. 'there are: idle; did you mean "idle"?',
      ["{ initial = 'a', states = { a = { after = { ['5s'] = 'x' } } } }"] = 'state "a", event "after:5s": there is no state "x"',
      ["{ initial = 'a', states = { a = { on = { go = {} } } } }"] = 'state "a": on["go"]: give it a target, an action, or both',
      ["{ initial = 'a', states = { a = { on = { go = { traget = 'a' } } } } }"] = 'on["go"]: unknown key "traget"; valid: action, guard, target; '
        .. 'did you mean "target"?',
      ["{ initial = 'a', states = { a = { on = { go = { 'a', x = 1 } } } } }"] = 'on["go"]: a list of transitions has no key "x"',
      ["{ initial = 'a', states = { a = { on = { go = { { target = 'a', guard = 1 } } } } } }"] = 'on["go"][1]: guard: expected a function, got 1',
      ["{ initial = 'a', states = { a = { on = { go = true } } } }"] = 'on["go"]: expected a state such as "idle", a function, ',
      ["{ initial = 'a', states = { a = { on = { 'a' } } } }"] = "on: an event is named by a text of 1 to 128 bytes, got a number",
      ["{ initial = 'a', states = { a = { after = { soon = 'a' } } } }"] = 'after: expected a duration with a unit such as "30s", or a range',
      ["{ initial = 'a', states = { a = { after = { [5] = 'a' } } } }"] = "after: expected a duration with a unit",
      ["{ initial = 'a', states = { a = { after = { ['20s..10s'] = 'a' } } } }"] = "the range begins with the smaller one: 20s..10s",
      ["{ initial = 'a', states = { a = { after = { ['1m'] = 'a', ['60s'] = 'a' } } } }"] = "the same time twice",
      ["{ initial = 'a', states = { a = { final = true, on = { x = 'a' } } } }"] = "a final state has no on, after, exit or states",
      ["{ initial = 'a', states = { a = { history = 'deep' } } }"] = "history is for a state with states inside it",
      ["{ initial = 'a', states = { a = { initial = 'b' } } }"] = "initial is for a state with states inside it",
      ["{ initial = 'a', states = { a = { initial = 'b', history = 'flat', states = { b = {} } } } }"] = "history: expected one of: shallow, deep",
      ["{ initial = 'a', states = { a = { on = { ['done:b'] = 'a' } } } }"] = 'event "done:b": there is no state "b"',
      ["{ initial = 'a', states = { a = { on = { ['done:a'] = 'a' } } } }"] = 'event "done:a": state "a" has no final state inside it',
      ["{ initial = 'a', context = 5, " .. A .. " }"] = "iotix.fsm: context: expected a table, got 5",
      ["5"] = "iotix.fsm: expected a table { … }, got 5",
      ["{ initial = 'a', context = (function() local t = {} t.t = t return t end)(), " .. A .. " }"] = "context: tables nest more than 32 deep",
      ["(function() local s = { x = {} } for _ = 1, 40 do s = { x = { initial = 'x', states = s } } end return { initial = 'x', states = s } end)()"]
        = "states nest more than 16 deep",
    } do
      local r = check("(" .. definition .. ")")
      assert.are.equal(104, r.code, definition .. "\n" .. r.err)
      assert.is_truthy(r.err:find("s.lua:3: error IOTX010: ", 1, true), definition .. "\n" .. r.err)
      assert.is_truthy(r.err:gsub("\n%s*", " "):find(expected, 1, true), definition .. "\nexpected " .. expected .. "\n" .. r.err)
    end
  end)

  it("warns once of states that nothing leads to", function()
    local r = check "{ name = 'x', initial = 'a', states = { a = { on = { go = 'b' } }, b = {}, lost = { on = { go = 'far' } }, far = {} } }"
    assert.are.equal(0, r.code, r.err)
    local _, n = r.err:gsub('s%.lua:3: iotix%.fsm "x": nothing leads to state "lost"', "")
    assert.are.equal(1, n, r.err)
    assert.is_truthy(r.err:find('state "far"', 1, true), r.err)
    assert.is_nil(r.err:find('state "b"', 1, true), r.err)
  end)
end)
