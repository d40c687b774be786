-- CoAP against implementations of others: aiocoap (Python) as server and client, libcoap's own server and client programs, over
-- UDP, TCP and DTLS. Run through iotix-run.
local proc = require "integration.proc"
local cjson = require "cjson"
local capture = require "integration.capture"
local scenarios = require "integration.coap.scenarios"

local helpers = proc.root .. "/tests/integration/coap/"
local site = proc.root .. "/build/peers/aiocoap/site"

-- nil when it is not on this machine; an error when CI=true.
local function need(what, path)
  if io.open(path) then return path end
  assert(not proc.ci, what .. " is missing: tests/integration/peers/install.sh, deploy/packages.sh")
  pending(what .. " is not installed")
end

local function run(text, limit)
  local dir = proc.dir()
  local r = proc.run({ proc.write(dir .. "/s.lua", text), "--summary-json", dir .. "/s.json" }, limit or 30)
  local s = proc.read(dir .. "/s.json")
  return r, s and cjson.decode(s)
end

-- A run lasts its whole duration, so it is as short as the machine allows.
local function seconds(n) return n * proc.patience .. "s" end

local function aiocoap_server()
  if not need("aiocoap", site .. "/aiocoap/__init__.py") then return nil end
  local p = proc.start(proc.command { "env", "PYTHONPATH=" .. site, "python3", helpers .. "server.py" })
  return assert(tonumber(proc.wait(20, function() return p.out():match("port (%d+)") end)), "no port: " .. p.err())
end

local function served()
  local dir = proc.dir()
  local p = proc.start(proc.command { proc.program, proc.write(dir .. "/s.lua", scenarios.server()) })
  local url = proc.wait(15, function() return (p.out() .. p.err()):match("served at (coap://[%d.:]+)") end)
  assert(url, "nothing is served: " .. p.out() .. p.err())
  return url, p
end

describe("CoAP", function()
  teardown(proc.cleanup)

  it("talks to aiocoap as a client over UDP and TCP", function()
    local port = aiocoap_server()
    if not port then return end
    local wire = capture.start { [port] = "coap" }
    local r = run(scenarios.client { { "udp", "coap://127.0.0.1:" .. port }, { "tcp", "coap+tcp://127.0.0.1:" .. port } }, 60)
    assert.are.equal(0, r.code, r.err .. r.out)
    wire:clean(500)
  end)

  it("serves aiocoap", function()
    if not need("aiocoap", site .. "/aiocoap/__init__.py") then return end
    local url = served()
    local wire = capture.start { [tonumber(url:match("(%d+)$"))] = "coap" }
    local r = proc.shell("PYTHONPATH=" .. proc.quote(site) .. " python3 " .. proc.quote(helpers .. "client.py") .. " " .. url, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    local got, notifications = {}, {}
    for line in r.out:gmatch("[^\n]+") do
      local m = cjson.decode(line)
      got[m.what] = m
      if m.what == "notification" then notifications[#notifications + 1] = tonumber(m.payload) end
    end
    assert.is_truthy(got.core.payload:find('</temp>;rt="temperature";ct=0', 1, true), got.core.payload)
    assert.is_truthy(got.core.payload:find("</count>;obs", 1, true), got.core.payload)
    assert.are.equal("20", got.get.payload)
    assert.are.equal("2.04 Changed", got.put.code)
    assert.are.equal("25", got.fetch.payload)
    assert.are.equal("patched", got.ipatch.payload)
    assert.are.equal("4.04 Not Found", got.none.code)
    assert.are.equal("50000", got.upload.payload)
    assert.are.equal(50000, got.download.length)
    assert.are.equal(7, #notifications)
    for i = 2, 7 do assert.is_true(notifications[i] > notifications[i - 1]) end
    wire:clean(200)
  end)

  it("serves libcoap's client", function()
    local client = need("coap-client (libcoap3-bin)", "/usr/bin/coap-client-openssl")
    if not client then return end
    local url = served()
    local wire = capture.start { [tonumber(url:match("(%d+)$"))] = "coap" }
    local r = proc.shell(client .. " -m get " .. url .. "/temp", 10)
    assert.is_truthy(r.out:find("20", 1, true), r.out .. r.err)
    r = proc.shell(client .. " -m get -s 1 " .. url .. "/count", 10)
    assert.is_truthy(r.out:find("%d"), r.out .. r.err)
    r = proc.shell("head -c 10000 /dev/zero | " .. client .. " -m post -b 256 -f - " .. url .. "/firmware", 15)
    assert.is_truthy(r.out:find("10000", 1, true), r.out .. r.err)
    wire:clean(80, "coap[:%w]*: Invalid Option Number 292$") -- Request-Tag, RFC 9175
  end)

  it("talks to libcoap's server over UDP, TCP and DTLS with a pre-shared key", function()
    local server = need("coap-server (libcoap3-bin)", "/usr/bin/coap-server-openssl")
    if not server then return end
    local port = proc.port()
    proc.start(proc.command { server, "-A", "127.0.0.1", "-p", port, "-k", "secret", "-d", "100" })
    local wire = capture.start { [port] = "coap", [port + 1] = "dtls" }
    local text = [[
      local iotix = require "iotix"
      local urls = { "coap://127.0.0.1:%d", "coap+tcp://127.0.0.1:%d", "coaps://127.0.0.1:%d" }
      local groups = {}
      for i, url in ipairs(urls) do
        groups[i] = iotix.group { name = "g" .. i, count = 3, connection = iotix.coap { url = url, publish = { method = "PUT" },
          tls = i == 3 and { psk = { identity = "CoAP", key = "736563726574" } } or nil },
          behaviour = function(dev)
            assert(dev:connect())
            local r = assert(dev:get("/"))
            assert(r.status == 205 and r.body:find("libcoap", 1, true), r.body)
            local path = "/stored-" .. dev.id
            r = assert(dev:put(path, ("z"):rep(10000)))
            assert(r.status == 201 or r.status == 204, r.status)
            assert(assert(dev:get(path)).body == ("z"):rep(10000))
            assert(assert(dev:get("/.well-known/core")).body:find("</time>", 1, true))
            assert(dev:get("/async?1").status == 205)
            local seen = 0
            local watch = assert(dev:observe("/time", function() seen = seen + 1 end))
            for _ = 1, 150 do if seen >= 2 then break end iotix.sleep("20ms") end
            watch:cancel()
            assert(seen >= 2, "no notifications")
            assert(dev:publish(path, "done", { qos = 1, wait = true }))
          end }
      end
      return iotix.scenario { name = "libcoap", duration = "%s", groups = groups,
        thresholds = { request_errors = "rate == 0", messages_acked = "count == 9" } }
    ]]
    local r = run(text:format(port, port, port + 1, seconds(4)), 60)
    assert.are.equal(0, r.code, r.err .. r.out)
    wire:clean(100)
  end)
end)
