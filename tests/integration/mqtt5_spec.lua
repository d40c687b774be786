-- MQTT 5 as an author sees it: against mosquitto with mosquitto_pub and mosquitto_sub at the other end, and against a broker that
-- breaks the protocol in every way it can.
local capture = require "integration.capture"
local proc = require "integration.proc"

local function scenario(body, extra, duration)
  return proc.write(proc.dir() .. "/five.lua", table.concat {
    'local iotix = require "iotix"\n',
    'local g = iotix.group { name = "g", connection = iotix.mqtt { version = "5"', extra or "", ' }, behaviour = function(dev)\n',
    body, '\nend }\nreturn iotix.scenario { name = "five", duration = "', duration or "5s", '", groups = { g } }\n',
  })
end

local function hostile()
  local p = proc.start(proc.command { "python3", proc.root .. "/tests/integration/hostile_broker5.py" })
  p.url = "mqtt://127.0.0.1:" .. assert(proc.wait(10, function() return p.out():match("port (%d+)") end))
  return p
end

describe("MQTT 5", function()
  teardown(proc.cleanup)

  it("answers each forbidden packet with DISCONNECT and the right reason, and reconnects", function()
    local b = hostile()
    local file = scenario('dev:connect()\nfor _ in dev:every("20ms") do dev:publish("a", "b") end',
      ', reconnect = { initial = "1ms", max = "1ms" }, topic_alias_maximum = 5, receive_maximum = 3', "4s")
    local r = proc.run({ file, "-b", b.url, "--stop-timeout", "1s", "--no-thresholds" }, 40)
    assert.is_true(r.code < 128, r.err .. r.out)
    local out = b.out()
    assert.is_truthy(out:find("served 37", 1, true), out)
    assert.is_nil(out:find("expected", 1, true), out)
    local _, n = out:gsub(": DISCONNECT 0x", "")
    assert.are.equal(37, n, out)
    assert.is_truthy(r.out:find("disconnect-protocol", 1, true), r.out)
  end)

  it("carries properties to and from clients that others wrote", function()
    local b = proc.mosquitto()
    if not b then return pending("mosquitto is missing") end
    local wire = capture.start { [b.port] = "mqtt" }
    local heard = proc.start(proc.command { "mosquitto_sub", "-V", "5", "-p", b.port, "-q", "1", "-t", "#", "-F", "%t|%p|%C|%R|%D|%P|" })
    assert(proc.wait(10, function()
      proc.publish(b, "ready", "-m", "x")
      return heard.out():find("ready|", 1, true)
    end), heard.err())
    local p = proc.start(proc.command { proc.program, scenario([[
      assert(dev:connect())
      assert(dev:subscribe("in/#", { qos = 1 }, function(m)
        dev:publish("echo", table.concat({ m.payload, m.content_type or "-", m.response_topic or "-", m.correlation or "-" }, ","))
      end))
      dev:publish("out", "body", { qos = 1, wait = true, content_type = "text/plain", response_topic = "r/t", correlation = "c1",
        user = { colour = "red" }, expiry = "5m" })
      dev:sleep("20s")
    ]], nil, "20s"), "-b", b.url })
    assert(proc.wait(10, function() return heard.out():find("out|body|text/plain|r/t|c1|colour:red|", 1, true) end),
      heard.out() .. p.out() .. p.err())
    assert(proc.wait(10, function()
      proc.publish(b, "in/x", "-V", "5", "-m", "hello", "-D", "publish", "content-type", "json", "-D", "publish", "response-topic", "to/me",
        "-D", "publish", "correlation-data", "42")
      return heard.out():find("echo|hello,json,to/me,42", 1, true)
    end), heard.out() .. p.err())
    p.signal(15)
    assert.are.equal(105, p.wait(10))
    wire:clean(20)
  end)

  it("asks and answers through response topics", function()
    local b = proc.mosquitto()
    if not b then return pending("mosquitto is missing") end
    local file = proc.write(proc.dir() .. "/ask.lua", [[
      local iotix = require "iotix"
      local five = iotix.mqtt { version = "5" }
      local server = iotix.group { name = "server", connection = five, behaviour = function(dev)
        assert(dev:connect())
        assert(dev:subscribe("/sum", function(m) return tostring(#m.payload) end))
        dev:sleep("10s")
      end }
      local client = iotix.group { name = "client", count = 20, on_error = "fail", connection = five, behaviour = function(dev)
        assert(dev:connect())
        for n = 1, 5 do
          local answer, why
          for _ = 1, 50 do -- until the server is there
            answer, why = dev:request { topic = "/sum", payload = ("x"):rep(n), timeout = "2s" }
            if answer then break end
            dev:sleep("50ms")
          end
          assert(answer and answer.payload == tostring(n) or answer and answer.body == tostring(n), why)
        end
        assert(dev:publish("done", "yes", { qos = 1, wait = true }))
      end }
      return iotix.scenario { name = "ask", duration = "3s", groups = { server, client },
        thresholds = { ["messages_sent{group:client}"] = "count >= 120", ["messages_acked{group:client}"] = "count == 120" } }
    ]])
    local wire = capture.start { [b.port] = "mqtt" }
    local r = proc.run({ file, "-b", b.url }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    wire:clean(200)
  end)

  it("is recorded so that a malformed packet would be seen", function()
    local b = proc.hostile("garbage")
    local wire = capture.start { [b.port] = "mqtt" }
    proc.shell("mosquitto_pub -p " .. b.port .. " -t a -m x")
    local seen = wire:stop()
    if wire.missing then return pending(wire.missing) end
    assert.is_true(seen.by.mqtt >= 2 and #seen.malformed > 0, seen.packets .. " packets: " .. table.concat(seen.malformed, "\n"))
  end)

  it("stops at what only version 5 has", function()
    local file = proc.write(proc.dir() .. "/four.lua", [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", behaviour = function(dev)
        assert(dev:connect())
        local ok, why, code = dev:publish("a", "b", { content_type = "x" })
        print(ok, why, code)
      end }
      return iotix.scenario { name = "four", duration = "1s", groups = { g } }
    ]])
    local r = proc.run({ file }, 30)
    assert.is_truthy((r.out .. r.err):find("only MQTT 5 has it", 1, true), r.out .. r.err)
  end)
end)
