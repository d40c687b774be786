-- CoAP against Californium (Java): its server for devices as clients over UDP and DTLS, its client for what a device serves.
local capture = require "integration.capture"
local cjson = require "cjson"
local peers = require "integration.peers"
local proc = require "integration.proc"
local scenarios = require "integration.coap.scenarios"

local function run(text, limit)
  return proc.run({ proc.write(proc.dir() .. "/s.lua", text) }, limit)
end

-- A CA, and a certificate of it for 127.0.0.1: { dir, ca.pem, ca.key, server.pem: key and chain }.
local function certificates()
  local dir = proc.dir()
  local r = proc.shell(([[
    cd %s
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj /CN=ca -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout own.key -out own.csr
    printf 'subjectAltName=IP:127.0.0.1\n' >own.ext
    openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3 -extfile own.ext -out own.pem
    cat own.key own.pem >server.pem]]):format(proc.quote(dir)), 10)
  assert(r.code == 0, r.err)
  return dir
end

local KEY = '{ psk = { identity = "CoAP", key = "736563726574" } }'

describe("Californium", function()
  local dir, server, ports, urls

  setup(function()
    dir = certificates()
    server = peers.californium("Server", dir)
    if not server then return end
    assert(proc.wait(20, function() return server.out():find("ready", 1, true) end), server.out() .. server.err())
    urls = {}
    ports = {}
    for scheme, port in server.out():gmatch("(coap%S*) (%d+)") do
      ports[scheme], urls[scheme] = tonumber(port), ("%s://127.0.0.1:%d"):format(scheme, port)
    end
  end)
  teardown(proc.cleanup)

  it("is a server for devices over UDP and DTLS, with pre-shared keys and certificates", function()
    if not server then return pending("Californium (Maven) is not here") end
    local minted = ("{ ca = %q, mint = { ca = %q, ca_key = %q } }"):format(dir .. "/ca.pem", dir .. "/ca.pem", dir .. "/ca.key")
    local wire = capture.start { [ports.coap] = "coap", [ports.coaps] = "dtls" }
    local r = run(scenarios.client {
      { "udp", urls.coap },
      { "psk", urls.coaps, tls = KEY },
      { "certificate", urls.coaps, tls = minted },
    }, 60)
    assert.are.equal(0, r.code, r.err .. r.out)
    wire:clean(100)
  end)

  -- Its TCP connector sends no CSM, which RFC 8323 5.3 asks of both sides: devices have to say so, and not to wait for ever.
  it("is told apart over TCP by the CSM that it does not send", function()
    if not server then return pending("Californium (Maven) is not here") end
    local r = run(([[
      local iotix = require "iotix"
      return iotix.scenario { name = "tcp", duration = "2s", groups = { iotix.group { name = "g",
        connection = iotix.coap { url = %q, connect_timeout = "500ms" },
        behaviour = function(dev) print(select(2, dev:connect { retry = false })) end } } }
    ]]):format(urls["coap+tcp"]), 20)
    assert.is_truthy((r.out .. r.err):find("no TCP connection with its CSM within 500 ms", 1, true), r.out .. r.err)
  end)

  local function check(out)
    local got, numbers = {}, {}
    for line in out:gmatch("[^\n]+") do
      local m = cjson.decode(line)
      got[m.what] = m
      if m.what == "notification" then numbers[#numbers + 1] = tonumber(m.payload) end
    end
    assert.is_truthy(got.core.payload:find('</temp>;rt="temperature";ct=0', 1, true), got.core.payload)
    assert.are.equal("20", got.get.payload)
    assert.are.equal("20", got.non.payload)
    assert.are.equal("2.04", got.put.code)
    assert.are.equal("25", got.fetch.payload)
    assert.are.equal("patched", got.ipatch.payload)
    assert.are.equal("4.04", got.none.code)
    assert.are.equal("50000", got.upload.payload)
    assert.are.equal(50000, got.download.length)
    assert.is_nil(got.error)
    assert.is_true(#numbers >= 7)
    -- The state is read when a notification goes out: under load two may have the same, but none an older one.
    for i = 2, #numbers do assert.is_true(numbers[i] >= numbers[i - 1], out) end
    assert.is_true(numbers[#numbers] >= numbers[1] + 4, out)
  end

  for _, case in ipairs { { "UDP", "coap" }, { "DTLS with a pre-shared key", "coaps", tls = KEY } } do
    it("is a client of what a device serves over " .. case[1], function()
      if not server then return pending("Californium (Maven) is not here") end
      local text = scenarios.server(urls[case[2]], case.tls)
      local device = proc.start(proc.command { proc.program, proc.write(proc.dir() .. "/s.lua", text) })
      local at = proc.wait(15, function() return (device.out() .. device.err()):match("served at (%S+:%d+)") end)
      assert(at, "nothing is served: " .. device.out() .. device.err())
      local wire = capture.start { [tonumber(at:match("%d+$"))] = case[2] == "coap" and "coap" or "dtls" }
      local client = peers.californium("Client", at, "CoAP", "secret")
      local code = client.wait(30)
      assert.are.equal(0, code, client.out() .. client.err() .. device.err())
      check(client.out())
      wire:clean(30)
      device.signal(15)
    end)
  end
end)
