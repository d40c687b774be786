-- The observer of a test at a broker that speaks TLS: trust, names and client certificates of the group's connection.
local proc = require "integration.proc"

local SCENARIO = [[
local iotix = require "iotix"
local c = iotix.mqtt { broker = "%s"%s }
local g = iotix.group { name = "g", behaviour = function(dev)
  %s
  for _ in dev:every("100ms") do dev:publish("t", "hello") end
end }
return iotix.scenario { name = "spec", connection = c, %sgroups = { g },
  test = function() iotix.expect.message { topic = "g/g-1/t", within = "8s" } end }
]]

describe("the observer of a test", function()
  local dir, port
  setup(function()
    if proc.shell("PATH=$PATH:/usr/sbin command -v mosquitto").code ~= 0 then
      assert(not proc.ci, "mosquitto is missing: apt-get install mosquitto")
      return
    end
    dir, port = proc.dir(), proc.port()
    local made = proc.shell("cd " .. dir .. [[ && exec 2>&1
      new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
      sign="openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
      $new -x509 -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca &&
      $new -x509 -keyout other.key -out other.pem -days 2 -subj /CN=other-ca &&
      printf 'subjectAltName=DNS:localhost' > ext &&
      $new -keyout s.key -out s.csr -subj /CN=server && $sign -in s.csr -extfile ext -out s.pem &&
      $new -keyout c.key -out c.csr -subj /CN=client && $sign -in c.csr -out c.pem && chmod 644 *.key]])
    assert.are.equal(0, made.code, made.out)
    proc.write(dir .. "/conf", ([[
listener PORT 127.0.0.1
cafile DIR/ca.pem
certfile DIR/s.pem
keyfile DIR/s.key
require_certificate true
allow_anonymous true
persistence false
user USER
]]):gsub("PORT", port):gsub("DIR", dir):gsub("USER", (io.popen("id -un"):read("*l"))))
    proc.start(proc.command { "sh", "-c", "PATH=$PATH:/usr/sbin exec mosquitto -c " .. dir .. "/conf" })
    assert(proc.wait(10, function()
      return proc.shell("echo | openssl s_client -connect 127.0.0.1:" .. port .. " 2>/dev/null").out:find("BEGIN CERTIFICATE", 1, true)
    end), "mosquitto does not answer")
  end)
  teardown(proc.cleanup)

  local function run(host, tls, idle)
    proc.write(dir .. "/s.lua", SCENARIO:format("mqtts://" .. host .. ":" .. port, ", tls = { " .. tls .. " }",
      idle and 'dev:sleep("1h")' or "assert(dev:connect())", idle and 'duration = "2s", ' or ""))
    return proc.run({ dir .. "/s.lua", "-q", "--summary-json", dir .. "/sum.json" }, 40)
  end

  local function files(ca, with)
    return ('ca = "%s/%s.pem"'):format(dir, ca) .. (with and (', cert = "%s/c.pem", key = "%s/c.key"'):format(dir, dir) or "")
  end

  local function text(r) return r.out .. r.err .. (proc.read(dir .. "/sum.json") or "") end

  it("trusts and proves itself as the group's connection does", function()
    if not dir then return pending("mosquitto is not installed") end
    local r = run("localhost", files("ca", true))
    assert.are.equal(0, r.code, text(r))
  end)

  it("takes PEM texts as well as files", function()
    if not dir then return pending("mosquitto is not installed") end
    local function pem(name) return string.format("%q", proc.read(dir .. "/" .. name)) end
    local r = run("localhost", "ca = " .. pem("ca.pem") .. ", cert = " .. pem("c.pem") .. ", key = " .. pem("c.key"))
    assert.are.equal(0, r.code, text(r))
  end)

  it("says why a broker cannot be trusted", function()
    if not dir then return pending("mosquitto is not installed") end
    local function refused(host, tls, ...)
      local r = run(host, tls, true)
      assert.are_not.equal(0, r.code)
      assert.is_truthy(text(r):find("the observer could not connect: ", 1, true), text(r))
      for _, part in ipairs { ... } do assert.is_truthy(text(r):find(part, 1, true), text(r)) end
    end
    refused("localhost", files("other", true), "over TLS", "certificate verify failed")
    refused("127.0.0.1", files("ca", true), "its certificate is not one of 127.0.0.1")
    refused("localhost", files("ca", true) .. ', server_name = "broker.example"', "is not the host of the URL")
  end)

  it("gets a certificate of its own where the devices' are minted", function()
    if not dir then return pending("mosquitto is not installed") end
    local r = run("localhost", files("ca") .. (', mint = { ca = "%s/ca.pem", ca_key = "%s/ca.key" }'):format(dir, dir))
    assert.are.equal(0, r.code, text(r))
    r = run("localhost", files("ca") .. (', mint = { ca = "%s/other.pem", ca_key = "%s/other.key" }'):format(dir, dir), true)
    assert.are_not.equal(0, r.code)
    assert.is_truthy(text(r):find("the observer could not connect: ", 1, true), text(r))
  end)

  it("proves itself with the pre-shared key of the group, if it has one for all", function()
    if not dir then return pending("mosquitto is not installed") end
    local secured = proc.port()
    proc.write(dir .. "/keys", "everyone:00112233445566778899aabbccddeeff\ng-1:00112233445566778899aabbccddeef0\n")
    local b = proc.mosquitto(("listener %d 127.0.0.1\npsk_hint iotix\npsk_file %s/keys\nuse_identity_as_username true\n"):format(secured, dir))
    local plain
    plain, port = port, secured
    finally(function() port = plain end)
    assert(b)
    for _, version in ipairs { "1.2", "1.3" } do
      local r = run("127.0.0.1", ('psk = { identity = "everyone", key = "00112233445566778899aabbccddeeff" }, max_version = "%s"'):format(version))
      assert.are.equal(0, r.code, text(r))
    end
    local r = run("127.0.0.1", 'psk = { identity = "everyone", key = "ff112233445566778899aabbccddeeff" }', true)
    assert.are_not.equal(0, r.code)
    assert.is_truthy(text(r):find("the observer could not connect: ", 1, true), text(r))
    r = run("127.0.0.1", 'psk = { identity = "${deviceId}", key = "00112233445566778899aabbccddeef0" }', true)
    assert.are_not.equal(0, r.code)
    assert.is_truthy(text(r):find("tls.psk differs from device to device", 1, true), text(r))
  end)

  it("looks where the groups are when the scenario names no broker, and does not choose between two", function()
    local one, two = proc.mosquitto(), proc.mosquitto()
    if not one then return pending("mosquitto is not installed") end
    local function looks(scenario_broker, expected_broker, second)
      local file = proc.write(proc.dir() .. "/s.lua", ([[
        local iotix = require "iotix"
        local function group(name, url)
          return iotix.group { name = name, connection = iotix.mqtt { broker = url }, behaviour = function(dev)
            assert(dev:connect())
            for _ in dev:every("100ms") do dev:publish("t", "hello") end
          end }
        end
        return iotix.scenario { name = "spec", %%s groups = { group("g", "%s"), group("h", "%s") },
          test = function() iotix.expect.message { topic = "g/g-1/t", within = "5s"%%s } end }
      ]]):format(one.url, second.url):format(scenario_broker, expected_broker))
      return proc.run({ file, "-q" }, 40)
    end
    local r = looks("", "", one)
    assert.are.equal(0, r.code, r.out .. r.err)
    r = looks("", "", two)
    assert.are_not.equal(0, r.code)
    assert.is_truthy(r.out:find("the groups speak to several brokers (" .. one.url .. ", " .. two.url, 1, true), r.out .. r.err)
    r = looks("", ', broker = "' .. one.url .. '"', two)
    assert.are.equal(0, r.code, r.out .. r.err)
    r = looks('broker = "' .. one.url .. '",', "", two)
    assert.are.equal(0, r.code, r.out .. r.err)
  end)

  it("verifies nothing when the connection does not", function()
    if not dir then return pending("mosquitto is not installed") end
    local r = run("127.0.0.1", files("other", true) .. ", verify = false")
    assert.are.equal(0, r.code, text(r))
  end)
end)
