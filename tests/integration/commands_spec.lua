-- Commands of models end to end: a real broker, the real program, mosquitto's own clients on the other side.
local proc = require "integration.proc"
local cjson = require "cjson"

local MODEL = [[{
  "id": "valve", "name": "Valve", "type": "actuator", "protocol": "mqtt",
  "connection": { "qos": 1 },
  "telemetry": [
    { "name": "position", "type": "integer", "intervalMs": 200, "generator": { "type": "constant", "value": 0 } },
    { "name": "level", "type": "number", "intervalMs": 200, "generator": { "type": "custom", "handler": "level", "params": { "k": 2 } } }
  ],
  "encoding": { "type": "lua", "handler": "camera.line" },
  "commands": [
    { "name": "setPosition", "parameters": [ { "name": "position", "type": "integer", "required": true, "min": 0, "max": 100 } ],
      "response": { "topic": "done/${deviceId}", "template": { "ok": true, "position": "${position}", "id": "${id}" } } },
    { "name": "move", "handler": "move", "timeoutMs": 700, "parameters": [ { "name": "seconds", "type": "number" } ] },
    { "name": "ping" }
  ],
  "behaviors": [
    { "name": "set", "trigger": { "type": "event", "event": "command:setPosition" },
      "action": { "type": "setState", "state": { "position": "${position}" } } }
  ]
}]]

local CAMERA = [[
local M = {}
function M.line(values, ctx)
  ctx.state.n = (ctx.state.n or 0) + 1
  return string.format("%s %d %d %g", ctx.id, ctx.state.n, values.position, values.level)
end
return M
]]

local SCENARIO = [[
local iotix = require "iotix"
local g = iotix.group {
  name = "valves", model = "valve", count = 2,
  handlers = {
    level = function(ctx) return ctx.params.k * ctx.index end,
    move = function(cmd, dev)
      dev:publish("moving", { seconds = cmd.params.seconds })
      if not cmd.params.seconds then error("how long?", 0) end
      dev:sleep(cmd.params.seconds)
      return { moved = cmd.params.seconds }
    end,
  },
  %s
}
return iotix.scenario { name = "spec", duration = "%s", groups = { g } }
]]

local function world(more, duration)
  local dir = proc.dir()
  proc.write(dir .. "/valve.json", MODEL)
  proc.write(dir .. "/camera.lua", CAMERA)
  return proc.write(dir .. "/s.lua", SCENARIO:format(more or "", duration or "60s")), dir
end

describe("commands", function()
  local broker, heard
  setup(function()
    broker = proc.mosquitto()
  end)
  teardown(proc.cleanup)

  local function listen() heard = proc.listen(broker, "#") end
  local function publish(topic, text) proc.publish(broker, topic, "-m", text) end
  local function hears(pattern, seconds) return heard.hears(pattern, seconds) end

  it("of a model without a behaviour are checked, carried out and answered", function()
    if not broker then return pending("mosquitto is not installed") end
    listen()
    local scenario, dir = world()
    local run = proc.start(proc.command { proc.program, scenario, "-b", broker.url, "--seed", "1", "--summary-json", dir .. "/sum.json" })
    hears "valves/valves%-2/telemetry valves%-2 2 0 4\n" -- both hooks: the generator's and the encoder's
    publish("valves/valves-1/commands/setPosition", '{"position": 42, "id": "a1"}')
    assert.are.same({ ok = true, position = 42, id = "a1" }, cjson.decode(hears "done/valves%-1 ({[^\n]*a1[^\n]*})\n"))
    hears "telemetry valves%-1 %d+ 42 2\n" -- and its behavior has set the attribute
    publish("valves/valves-1/commands/setPosition", '{"position": 142, "id": "a2"}')
    local answer = cjson.decode(hears "done/valves%-1 ({[^\n]*a2[^\n]*})\n")
    assert.are.same({ false, "range", "position" }, { answer.ok, answer.code, answer.parameter })
    publish("valves/valves-2/command", '{"command": "move", "params": {"seconds": 0.1}, "id": 3}')
    answer = cjson.decode(hears "valves%-2/response ({[^\n]*\"id\":3[^\n]*})\n")
    assert.are.same({ ok = true, command = "move", id = 3, result = { moved = 0.1 } }, answer)
    publish("valves/valves-2/commands/move", '{"id": 4}')
    assert.are.equal("how long?", cjson.decode(hears "response ({[^\n]*\"id\":4[^\n]*})\n").error)
    publish("valves/valves-2/commands/move", '{"seconds": 60, "id": 5}')
    assert.are.equal("timeout", cjson.decode(hears "response ({[^\n]*\"id\":5[^\n]*})\n").code)
    publish("valves/valves-2/commands/ping", "not JSON")
    assert.are.equal("malformed", cjson.decode(hears "response ({[^\n]*\"command\":\"ping\"[^\n]*})\n").code)
    publish("valves/valves-2/command", '{"command": "pong", "id": 6}')
    answer = cjson.decode(hears "response ({[^\n]*\"id\":6[^\n]*})\n")
    assert.are.equal("unknown", answer.code)
    assert.is_truthy(answer.error:find 'did you mean "ping"')
    run.signal(2)
    assert.is_not_nil(run.wait(20))
    local errors, received = {}, 0
    for _, m in ipairs(cjson.decode(proc.read(dir .. "/sum.json")).metrics) do
      if m.name == "command_errors" and m.tags.reason then errors[m.tags.reason] = m.values.count end
      if m.name == "commands_received" then received = received + m.values.count end
    end
    assert.are.same({ range = 1, handler = 1, timeout = 1, malformed = 1, unknown = 1 }, errors)
    assert.are.equal(7, received)
  end)

  it("reach a behaviour already checked", function()
    if not broker then return pending("mosquitto is not installed") end
    listen()
    local scenario = world([[behaviour = function(dev)
      assert(dev:connect())
      dev:on("command", function(cmd)
        return { name = cmd.name, position = cmd.params.position }
      end)
    end,]])
    local run = proc.start(proc.command { proc.program, scenario, "-b", broker.url, "-q" })
    assert(proc.wait(10, function()
      publish("valves/valves-1/commands/ping", '{"id": "p"}')
      return heard.out():find("valves/valves%-1/response {[^\n]*\"id\":\"p\"")
    end))
    assert.are.same({ ok = true, command = "ping", id = "p", result = { name = "ping" } },
      cjson.decode(hears "response ({[^\n]*\"id\":\"p\"[^\n]*})\n"))
    publish("valves/valves-1/command", '{"command": "setPosition", "params": {"position": "x"}, "id": "q"}')
    assert.are.equal("type", cjson.decode(hears "done/valves%-1 ({[^\n]*\"id\":\"q\"[^\n]*})\n").code)
    run.signal(2)
    assert.is_not_nil(run.wait(20))
  end)

  it("and actions that raise are logged with the author's lines alone", function()
    local dir = proc.dir()
    proc.write(dir .. "/m.json", [[{ "id": "m", "name": "m", "type": "sensor", "protocol": "mqtt",
      "telemetry": [{ "name": "v", "type": "number", "generator": { "type": "constant", "value": 1 } }],
      "behaviors": [
        { "name": "a", "trigger": { "type": "startup" }, "action": { "type": "custom", "handler": "text" } },
        { "name": "b", "trigger": { "type": "startup" }, "action": { "type": "custom", "handler": "other" } }] }]])
    local scenario = proc.write(dir .. "/s.lua", [[
local iotix = require "iotix"
local function deep() error("boom") end
local g = iotix.group { name = "g", model = "m", handlers = {
  text = function() deep() end,
  other = function() error({}) end,
} }
return iotix.scenario { name = "spec", duration = "1s", groups = { g } }
]])
    local r = proc.run { scenario, "--virtual", "--sink", "csv=" .. dir .. "/out", "-q" }
    assert.are.equal(0, r.code, r.err)
    assert.is_truthy(r.err:find("s.lua:2: boom\\nstack traceback:", 1, true), r.err)
    assert.is_truthy(r.err:find("in function 'deep'\\n\\t[^\\]*s%.lua:4: in function <[^\\]*s%.lua:4>\n"), r.err)
    assert.is_truthy(r.err:find("action b: raised something that is not text\n", 1, true), r.err)
  end)

  it("whose handler is missing end the run before it starts", function()
    local scenario, dir = world()
    proc.write(dir .. "/camera.lua", "return { lines = function() end }")
    local r = proc.run({ "check", scenario }, 20)
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find("valve%.json:8:%d+: error IOTX024: /encoding/handler: handler \"camera.line\" was not found"), r.err)
    assert.is_truthy(r.err:find('has no function line; it has: lines; did you mean "lines"?', 1, true), r.err)
  end)
end)
