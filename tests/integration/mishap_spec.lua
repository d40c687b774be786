-- What befalls a run: servers that die and come back, embedded targets that die, connections beside the devices' own when it is
-- stopped, too few descriptors, and secrets, which nothing may print.
local cjson = require "cjson"
local capture = require "integration.capture"
local proc = require "integration.proc"

local function put(text) return proc.write(proc.dir() .. "/s.lua", text) end

local function begin(file, environment, ...)
  local words = { proc.program, file, "--stop-timeout", "3s", ... }
  for name, value in pairs(environment or {}) do
    words[#words + 1] = "-e"
    words[#words + 1] = name .. "=" .. value
  end
  return proc.start(proc.command(words))
end

local function seen(p, what)
  local _, n = p.err():gsub("SEEN " .. what, "")
  return n
end

local function waits(p, what, n)
  assert(proc.wait(15, function() return seen(p, what) >= n end), what .. " not seen " .. n .. " times\n" .. p.err() .. p.out())
end

local function kill(p)
  local pids = proc.descendants(p.pid)
  pids[#pids + 1] = p.pid
  for _, pid in ipairs(pids) do os.execute("kill -9 " .. pid .. " 2>/dev/null") end
  assert(p.wait(5))
end

local function installed(name)
  if proc.shell("PATH=$PATH:/usr/sbin command -v " .. name).code == 0 then return true end
  assert(not proc.ci, name .. " is missing: deploy/packages.sh")
end

local CONNECTION = [[
local iotix = require "iotix"
local kind, url = iotix.env("KIND", "mqtt"), iotix.env("URL", "")
local quick = { initial = "50ms", max = "100ms" }
local c = kind == "mqtt" and iotix.mqtt { broker = url, reconnect = quick }
  or kind == "http" and iotix.http { url = url } or iotix.coap { url = url, timeout = "500ms" }
]]

describe("a server that dies and comes back", function()
  after_each(proc.cleanup)

  local SCENARIO = CONNECTION .. [[
  local side = iotix.env("SIDE") == "yes"
  local g = iotix.group { name = "g", count = 3, connection = not side and c or iotix.mqtt { broker = "embedded" },
    behaviour = function(dev)
      assert(dev:connect { timeout = "5s" })
      local conn, good, state = dev, 0, "new"
      if side then conn = assert(dev:open(c, { timeout = "5s" })) end
      for _ in dev:every("50ms") do
        local ok
        if kind == "mqtt" then ok = conn:publish("t", "x") else ok = conn:get("/", { timeout = "1s" }) end
        good = good + (ok and 1 or 0)
        local now = state == "new" and good == 3 and "works" or state == "works" and not ok and "failed"
          or state == "failed" and ok and "again" or state
        if now ~= state then dev:log("SEEN " .. now) end
        state = now
      end
    end }
  return iotix.scenario { name = "r", duration = "60s", groups = { g } }
  ]]

  local servers = {
    mqtt = function(port)
      local conf = proc.write(proc.dir() .. "/conf", ("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser %s\n")
        :format(port, io.popen("id -un"):read("*l")))
      return proc.start("env PATH=$PATH:/usr/sbin mosquitto -c " .. conf), "mosquitto"
    end,
    http = function(port) return proc.start("python3 -m http.server --bind 127.0.0.1 " .. port), "python3" end,
    coap = function(port) return proc.start("coap-server-openssl -A 127.0.0.1 -p " .. port), "coap-server-openssl" end,
  }
  for kind, start in pairs(servers) do
    for _, side in ipairs { "no", "yes" } do
      it("of " .. kind .. (side == "yes" and ", beside the device's own connection" or "") .. ", is used again", function()
        local port = proc.port()
        local server, name = start(port)
        if not installed(name) then return pending(name .. " is not installed") end
        local wire = capture.start { [port] = kind }
        local p = begin(put(SCENARIO), { KIND = kind, URL = kind .. "://127.0.0.1:" .. port, SIDE = side })
        waits(p, "works", 3)
        kill(server)
        waits(p, "failed", 3)
        start(port)
        waits(p, "again", 3)
        p.signal(15)
        assert.are.equal(105, p.wait(10), p.err())
        assert.is_truthy(p.out():find("refused", 1, true) or p.out():find("closed", 1, true), p.out())
        assert.is_falsy(p.out():find("script", 1, true), p.out() .. p.err())
        wire:clean(10)
      end)
    end
  end
end)

describe("an embedded target that dies", function()
  after_each(proc.cleanup)

  for kind, want in pairs { mqtt = { "mosquitto", "the embedded broker was killed by signal 9 (Killed); the last line of its log: " },
    http = { "http-echo", "the embedded HTTP target was killed by signal 9 (Killed)   (exit 111)" },
    coap = { "coap-echo", "the embedded CoAP target was killed by signal 9 (Killed)   (exit 111)" } } do
    it("of " .. kind .. ", is the verdict", function()
      local p = begin(put(CONNECTION .. [[
        return iotix.scenario { name = "e", duration = "1500ms", groups = { iotix.group { name = "g", connection = c, behaviour = function(dev)
          assert(dev:connect())
          for n in dev:every("100ms") do
            dev:publish("value", "x")
            if n == 3 then dev:log("SEEN works") end
          end
        end } } } ]]), { KIND = kind, URL = kind .. "://embedded" })
      waits(p, "works", 1)
      local pid
      for _, child in ipairs(proc.descendants(p.pid)) do
        if (proc.read("/proc/" .. child .. "/comm") or ""):find(want[1], 1, true) then pid = child end
      end
      os.execute("kill -9 " .. assert(pid, "no process is called " .. want[1]))
      assert.are.equal(111, p.wait(20), p.err() .. p.out())
      assert.is_truthy(p.out():find(want[2], 1, true), p.out())
      assert.is_falsy(p.out():find("opening ipv4 listen socket", 1, true), p.out()) -- how it came up is of no interest
    end)
  end
end)

describe("stopping with connections beside the devices' own", function()
  after_each(proc.cleanup)

  -- One of each protocol is open, one is in the handshake of a TLS server that says nothing.
  local SCENARIO = [[
  local iotix = require "iotix"
  local _ = { iotix.http { url = "http://embedded" }, iotix.coap { url = "coap://embedded" } } -- so that these are started
  local g = iotix.group { name = "g", count = 5, behaviour = "b.lua" }
  return iotix.scenario { name = "s", duration = "60s", groups = { g } }
  ]]

  local BEHAVIOUR = [[
  local iotix = require "iotix"
  return function(dev)
    local own = { iotix.mqtt { broker = iotix.env("MUTE") }, iotix.http { url = "http://embedded" }, iotix.coap { url = "coap://embedded" } }
    assert(dev:connect())
    local conns = {}
    for i, c in ipairs(own) do conns[i] = assert(dev:open(c, { timeout = "5s" })) end
    iotix.spawn(function() dev:open(iotix.mqtt { broker = iotix.env("STALLED"), connect_timeout = "50s" }, { timeout = "50s" }) end)
    conns[1]:publish("t", "x", { qos = 1 }) -- never acknowledged
    assert(conns[2]:get("/echo/1").status == 200)
    dev:log("SEEN ready %s")
    dev:sleep("60s")
  end
  ]]

  local function ready()
    local dir = proc.dir()
    local mute, stalled = proc.hostile("mute"), proc.hostile("silent")
    proc.write(dir .. "/b.lua", BEHAVIOUR:format("first"))
    local file = proc.write(dir .. "/s.lua", SCENARIO)
    local wire = capture.start { [mute.port] = "mqtt" }
    local p = begin(file, { MUTE = mute.url, STALLED = "mqtts://127.0.0.1:" .. stalled.port })
    waits(p, "ready first", 5)
    return p, dir, wire
  end

  local function gone(pids)
    for _, pid in ipairs(pids) do
      assert.is_truthy(proc.wait(3, function() return not proc.exists(pid) end), "child " .. pid .. " is left")
    end
  end

  it("drains, counts what was not delivered, and leaves nothing", function()
    local p, _, wire = ready()
    local pids = proc.descendants(p.pid)
    p.signal(2)
    assert.are.equal(105, p.wait(10), p.err())
    assert.is_truthy(p.err():find("5 messages were not delivered before the end", 1, true), p.err())
    gone(pids)
    wire:clean(15)
  end)

  it("ends at once at the second Ctrl-C, in the drain", function()
    local p = ready()
    local pids = proc.descendants(p.pid)
    p.signal(2)
    assert(proc.wait(5, function() return p.err():find("phase=stopping", 1, true) or p.err():find("stopping", 1, true) end), p.err())
    p.signal(2)
    assert.is_truthy(p.wait(2), "it still drains")
    assert.is_true(p.code() == 105 or p.code() == 130, tostring(p.code()))
    gone(pids)
  end)

  it("reloads behaviours that hold them", function()
    local p, dir, wire = ready()
    proc.write(dir .. "/b.lua.tmp", BEHAVIOUR:format("second"))
    os.rename(dir .. "/b.lua.tmp", dir .. "/b.lua")
    p.signal(1)
    waits(p, "ready second", 5)
    p.signal(15)
    assert.are.equal(105, p.wait(10), p.err())
    wire:clean(20)
  end)
end)

describe("too few descriptors", function()
  after_each(proc.cleanup)

  it("are warned of where behaviours may open connections, and told where one cannot be opened", function()
    local file = put [[
      local iotix = require "iotix"
      local more = { iotix.mqtt { broker = "mqtt://embedded" }, iotix.mqtt { broker = "mqtt://embedded" } }
      local g = iotix.group { name = "g", count = 60, behaviour = function(dev)
        assert(dev:connect())
        dev:publish("t", "x")
        for i = 1, 2 do
          local conn, why = dev:open(more[i], { timeout = "500ms" })
          dev:log(conn and "SEEN success" or "SEEN failure: " .. why)
        end
        dev:sleep("10s")
      end }
      return iotix.scenario { name = "s", duration = "2s", groups = { g } }
    ]]
    local function run(limit, ...)
      return proc.shell("ulimit -n " .. limit .. "; exec " .. proc.command { proc.program, file, "--stop-timeout", "1s", ... }, 30)
    end
    local r = run(130, "--shards", "1")
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_truthy(r.err:find("behaviours that open all their connections need 244 descriptors in one process, the limit is 130", 1, true), r.err)
    assert.is_truthy(r.err:find("SEEN failure: [^\n]*Too many open files %(the descriptor limit of one process: raise ulimit %-n"), r.err)
    assert.is_truthy(r.err:find("SEEN success", 1, true), r.err)
    r = run(256) -- as many shards as it takes
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_falsy(r.err:find("SEEN failure", 1, true), r.err)
    assert.is_falsy(r.err:find("descriptors", 1, true), r.err)
  end)
end)

describe("adaptive pacing", function()
  after_each(proc.cleanup)

  local function run(mode, pacing)
    local b = proc.hostile(mode)
    local file = put(([[
      local iotix = require "iotix"
      local c = iotix.mqtt { connect_pacing = "%s", connect_window = 200, connect_timeout = "2s", reconnect = { initial = "50ms", max = "50ms" } }
      local g = iotix.group { name = "g", count = 110, connection = c, behaviour = function(dev)
        dev:connect { timeout = "10s" }
        dev:publish("a", "b")
        dev:sleep("20s")
      end }
      return iotix.scenario { name = "s", duration = "4s", groups = { g } }
    ]]):format(pacing))
    local summary = proc.dir() .. "/s.json"
    local r = proc.run({ file, "-b", b.url, "--stop-timeout", "500ms", "--summary-json", summary }, 30)
    local text = assert(proc.read(summary), r.err)
    return cjson.decode(text).totals.connections, r
  end

  it("keeps below what a server can accept, which all at once is too much for", function()
    local c, r = run("slow", "adaptive")
    assert.are.equal(110, c.connects, r.out)
    assert.are.equal(0, c.failures, r.out)
    c, r = run("slow", "fixed")
    assert.is_true(c.failures >= 10, r.out)
  end)

  it("lets a server alone that refuses", function()
    local few, r = run("refuse", "adaptive")
    local many = run("refuse", "fixed")
    assert.is_true(few.failures >= 3 and few.failures * 5 < many.failures, few.failures .. " and " .. many.failures .. r.out)
  end)
end)

describe("a broker that downgrades QoS 2", function()
  after_each(proc.cleanup)

  it("is told of by its PUBACK, and the message is not sent for ever", function()
    local b = proc.hostile("downgrade")
    local p = begin(put [[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", connection = iotix.mqtt { reconnect = { initial = "10ms", max = "10ms" } }, behaviour = function(dev)
        assert(dev:connect())
        local ok, why, code = dev:publish("t", "x", { qos = 2, wait = true })
        dev:log("SEEN " .. tostring(ok) .. " " .. tostring(code) .. ": " .. tostring(why))
        dev:sleep("60s")
      end }
      return iotix.scenario { name = "s", duration = "60s", groups = { g } } ]], {}, "-b", b.url)
    waits(p, "nil protocol: [^\n]*the broker answered PUBACK to a message of QoS 2 %(MQTT 4.3.3%): it seems to have QoS 1 at most", 1)
    p.signal(15)
    assert.are.equal(105, p.wait(10), p.err())
    assert.is_falsy(p.err():find("were not delivered", 1, true), p.err())
  end)
end)

describe("secrets", function()
  after_each(proc.cleanup)

  local connections = {
    ["a password"] = 'iotix.mqtt { broker = "mqtt://127.0.0.1:1", username = "u", password = SECRET }',
    ["a password of a URL"] = 'iotix.mqtt { broker = "mqtt://u:" .. SECRET .. "@127.0.0.1:1" }',
    ["a password of a URL without a scheme"] = 'iotix.mqtt { broker = "u:" .. SECRET .. "@127.0.0.1:1" }',
    ["a signature in a URL's query"] = 'iotix.mqtt { broker = "ws://127.0.0.1:1/mqtt?sig=" .. SECRET }',
    ["a broken URL"] = 'iotix.mqtt { broker = "mqtt://u:a " .. SECRET .. "@127.0.0.1:1" }',
    ["another broken URL"] = 'iotix.mqtt { broker = "mqtt://u:" .. SECRET .. "@127.0.0.1:port" }',
    ["a JWT's key"] = 'iotix.mqtt { broker = "mqtt://127.0.0.1:1", jwt = { algorithm = "HS256", key = SECRET:rep(3), claims = { sub = "x" } } }',
    ["a pre-shared key"] = 'iotix.mqtt { broker = "mqtts://127.0.0.1:1", tls = { psk = { identity = "i", key = HEX } } }',
    ["a pre-shared key of CoAP"] = 'iotix.coap { url = "coaps://127.0.0.1:1", tls = { psk = { identity = "i", key = HEX } } }',
    ["a bearer token"] = 'iotix.http { url = "http://127.0.0.1:1", token = SECRET }',
    ["a password of HTTP"] = 'iotix.http { url = "http://127.0.0.1:1", username = "u", password = SECRET }',
    ["a password of an HTTP URL"] = 'iotix.http { url = "http://u:" .. SECRET .. "@127.0.0.1:1" }',
    ["a broken pre-shared key"] = 'iotix.mqtt { broker = "mqtts://127.0.0.1:1", tls = { psk = { identity = "i", key = HEX .. "z" } } }',
  }
  for name, connection in pairs(connections) do
    it("are not printed: " .. name, function()
      local dir = proc.dir()
      proc.write(dir .. "/secret.lua", 'return { text = "Tell_it_to_nobody", hex = "5f6e6f626f64795f" }')
      local scenario = [[
        local iotix = require "iotix"
        local SECRET, HEX = require "secret".text, require "secret".hex
        local function make() return CONNECTION end
        local c = make()
        local function try(dev)
          dev:log(tostring(select(2, dev:connect { timeout = "100ms" })))
          dev:log(tostring(select(2, dev:publish("a", "b"))))
          local conn, why = dev:open(c, { timeout = "100ms" })
          dev:log(tostring(conn) .. tostring(why))
          if conn and conn.get then dev:log(tostring(select(2, conn:get("/x")))) end
        end
        return iotix.scenario { name = "s", duration = "300ms", groups = { iotix.group { name = "g", connection = c, behaviour = try } } }
      ]]
      local file = proc.write(dir .. "/s.lua", (scenario:gsub("CONNECTION", connection, 1)))
      local commands = {}
      for i, words in ipairs { { "check" }, { "inspect" }, { "--stop-timeout", "200ms", "--summary-json", dir .. "/sum.json" } } do
        commands[i] = proc.command { proc.program, unpack(words) } .. " " .. proc.command { file, "--log-level", "debug" }
      end
      local r = proc.shell(table.concat(commands, " & ") .. " & wait", 20)
      local text = r.out .. r.err .. (proc.read(dir .. "/sum.json") or "")
      assert.is_truthy(text:find('"exitCode"', 1, true) or r.err:find("error IOTX", 1, true), text)
      assert.is_truthy(text:find("127.0.0.1", 1, true) or text:find("psk", 1, true), text) -- there is something to read
      for _, secret in ipairs { "Tell_it_to_nobody", "5f6e6f626f64795f", "VGVsbF9pdF90b19ub2JvZHk", "_nobody_" } do
        local at = text:find(secret, 1, true)
        assert.is_nil(at, at and text:sub(math.max(1, at - 300), at + 60))
      end
    end)
  end
end)
