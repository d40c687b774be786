-- Connecting at a given rate, and connections that are renewed before their token expires.
local capture = require "integration.capture"
local proc = require "integration.proc"

local function run(text, limit)
  return proc.run({ proc.write(proc.dir() .. "/s.lua", text) }, limit or 30)
end

-- What the run said to its embedded broker.
local function clean(wire, r, least)
  assert.is_true(wire:embedded(r.err) > 0, r.err)
  wire:clean(least)
end

describe("connecting", function()
  teardown(proc.cleanup)

  it("keeps to connect_rate, whatever the launch and the shards", function()
    local file = proc.write(proc.dir() .. "/s.lua", [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 60, connection = iotix.mqtt { broker = "mqtt://embedded", connect_rate = 30 },
        behaviour = function(dev)
          assert(dev:connect())
          dev:publish("hello", "x")
          dev:wait("message")
        end }
      return iotix.scenario { name = "paced", duration = "2500ms", groups = { g },
        thresholds = { connects = "count == 60", connect_errors = "rate == 0" },
        test = function(run)
          run:at("1s")
          local n = run:group("g"):count("online")
          iotix.expect(n, "after a second").at_least(18)
          iotix.expect(n, "after a second").at_most(42)
        end }
    ]])
    local wire = capture.start()
    local r = proc.run({ file, "--shards", "2" }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    clean(wire, r, 180)
  end)

  it("adapts, and says at which rate", function()
    local dir = proc.dir()
    local file = proc.write(dir .. "/s.lua", [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 100,
        connection = iotix.mqtt { broker = "mqtt://embedded", connect_pacing = { target = "100ms", min_rate = 2 } },
        behaviour = function(dev)
          assert(dev:connect())
          dev:publish("hello", "x")
          dev:wait("message")
        end }
      return iotix.scenario { name = "paced", duration = "2s", groups = { g },
        thresholds = { connects = "count == 100", connect_rate_limit = "value >= 100" } }
    ]])
    local r = proc.run({ file }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
  end)

  it("renews a connection before its token expires, and nothing is lost by it", function()
    local wire = capture.start()
    local r = run [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 10,
        connection = iotix.mqtt { broker = "mqtt://embedded", username = "u",
          jwt = { algorithm = "HS256", key = "secret", ttl = "5s", refresh = 0.2, claims = { sub = "${deviceId}" } } },
        behaviour = function(dev)
          assert(dev:connect())
          local got = 0
          dev:subscribe("echo", function() got = got + 1 end)
          for n in dev:every("100ms") do
            dev:publish("echo", { n = n }, { qos = 1 })
            if n == 20 then break end
          end
          dev:sleep("500ms")
          assert(got >= 19, "its subscription was kept: " .. got)
        end }
      return iotix.scenario { name = "renewed", duration = "3500ms", groups = { g },
        thresholds = { credential_refreshes = { "count >= 10", "count <= 40" }, script_errors = "count == 0",
          ["messages_acked{group:g}"] = "count == 200", connect_errors = "rate == 0" } }
    ]]
    assert.are.equal(0, r.code, r.err .. r.out)
    clean(wire, r, 400)
  end)

  it("says what is wrong with a credential, and where", function()
    local r = run [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 1, behaviour = function(dev) dev:connect() end,
        connection = iotix.mqtt { broker = "mqtt://embedded", jwt = { algorithm = "ES256", key = "nowhere.pem" } } }
      return iotix.scenario { name = "bad", duration = "1s", groups = { g } }
    ]]
    assert.are.equal(104, r.code, r.err .. r.out)
    assert.is_truthy((r.err .. r.out):find("neither PEM text nor a file that can be read", 1, true), r.err .. r.out)
  end)
end)
