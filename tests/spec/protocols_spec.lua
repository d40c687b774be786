-- Connections from outside: random option tables never do more than raise at the author's line, the example scenarios of this kind
-- pass, and several protocols in one behaviour work against the embedded servers. What single calls do to the adapters is tested in
-- tests/unit/script/test_protocols.c, what becomes of options in test_connections.c.
local proc = require "integration.proc"
local cjson = require "cjson"

local function run(text, ...)
  local dir = proc.dir()
  local json = dir .. "/summary.json"
  local args = { proc.write(dir .. "/s.lua", text), "-q", "--summary-json", json }
  for _, a in ipairs { ... } do args[#args + 1] = a end
  local r = proc.run(args, 40)
  local s = proc.read(json)
  r.summary = s and cjson.decode(s)
  r.text = r.err .. r.out
  return r
end

describe("option tables of connections", function()
  teardown(proc.cleanup)

  it("take any input: what is wrong is told at the author's line, what is right makes a connection", function()
    local r = run([==[
local iotix = require "iotix"
local keys = { "broker", "url", "version", "username", "password", "token", "tls", "jwt", "will", "headers", "retries", "commands",
  "connect_pacing", "connect_rate", "connect_window", "source", "timeout", "keep_alive", "reconnect", "queue", "websocket", "publish",
  "user_properties", "session_expiry", "receive_maximum", "topic_aliases", "serve", "observe", "resource_directory", "block_size",
  "ca", "cert", "key", "psk", "mint", "identity", "algorithm", "claims", "ttl", "refresh", "as", "max", "initial", "max_delay", "on",
  "mode", "path", "topic", "payload", "target", "min_rate", "ca_key", "days", "alpn", "verify", "nosuch" }
local cyclic = {}
cyclic.me = cyclic
local long = ("x"):rep(70000)
local scalars = { true, false, 0, -1, 1, 5, 0.5, 2 ^ 53, 1e300, 0 / 0, 1 / 0, "",
  "5s", "-1s", "1h", "never", "adaptive", "fixed",
  "5", "3.1.1", "mqtt://h", "http://h", "https://h:1/x", "coap://h", "embedded", "://", "a b", "a\0b", "\255", "${deviceId}", "${nosuch}",
  "HS256", "RS256", "poll", "POST", "/x", "127.0.0.1", long, print, cyclic, iotix.json.null, iotix, string }
local seed = tonumber(iotix.env("SEED", "1"))
local function draw(n)
  seed = (seed * 16807) % 2147483647
  return seed % n + 1
end
local function value(depth)
  if depth > 0 and draw(3) == 1 then
    local t = {}
    for i = 1, draw(4) do
      t[draw(3) == 1 and i or keys[draw(#keys)]] = value(depth - 1)
    end
    return t
  end
  return scalars[draw(#scalars)]
end
local made, refused = 0, 0
for i = 1, 30000 do
  local name = ({ "mqtt", "http", "coap", "connection" })[draw(4)]
  local t = draw(50) == 1 and value(0) or {}
  if type(t) == "table" and t ~= cyclic and t ~= iotix and t ~= string then
    for _ = 1, draw(3) do t[keys[draw(#keys)]] = value(3) end
  end
  local ok, problem = pcall(function() local c = iotix[name](t) return c end)
  if ok then
    made = made + 1
    if type(problem) ~= "table" then error("not a connection: " .. tostring(problem)) end
  else
    refused = refused + 1
    if type(problem) ~= "string" or not problem:find("s.lua:%d+: iotix%." .. name .. ": ") or #problem > 2000 then
      error("call " .. i .. " of iotix." .. name .. ": " .. tostring(problem):sub(1, 500))
    end
  end
end
if made < 200 or refused < 10000 then error("made " .. made .. ", refused " .. refused) end
return iotix.scenario { name = "x", duration = "500ms", groups = { iotix.group { name = "g",
  behaviour = function(dev) dev:connect() dev:publish("x", "y") dev:sleep("1h") end } } }
]==])
    assert.are.equal(0, r.code, r.text)
  end)
end)

describe("the example scenario", function()
  for _, name in ipairs { "mqtt5-request-response", "several-protocols", "http-devices", "coap-sensors", "mtls-fleet" } do
    it(name .. " passes", function()
      local r = proc.run({ proc.root .. "/scenarios/" .. name .. ".lua", "-q" }, 40)
      assert.are.equal(0, r.code, r.err .. r.out)
    end)
  end
end)

describe("several protocols in one behaviour", function()
  teardown(proc.cleanup)

  it("work beside each other, and end with the device", function()
    local r = run([==[
local iotix = require "iotix"
local web, store, second = iotix.http {}, iotix.coap {}, iotix.mqtt { version = 5 }
local g = iotix.group { name = "g", qos = 1, behaviour = function(dev)
  assert(dev:connect())
  local w, c, m = assert(dev:open(web)), assert(dev:open(store)), assert(dev:open(second))
  assert(w.state == "connected" and c.protocol == "coap" and m.url:find("^mqtt://127"))

  -- HTTP: a body there and back, headers, a status that is an answer
  local e = assert(w:post("/echo/a?x=1", { v = 1 }, { headers = { ["X-Mine"] = "yes" } }))
  local doc = assert(e:json())
  assert(e.status == 200 and doc.method == "POST" and doc.body == '{"v":1}' and doc.headers["x-mine"] == "yes", e.body)
  assert(doc.headers["content-type"] == "application/json")
  local missing = assert(w:get("/nothing/here"))
  assert(missing.status == 404 and not missing.ok)
  local none, why, code = w:get("/delay/5000", { timeout = "200ms" })
  assert(none == nil and code == "timeout" and why)

  -- CoAP: stored, read, observed
  local path = "/state/" .. dev.id
  assert(c:put(path, "one").ok)
  assert(c:get(path).body == "one")
  local seen = {}
  local o = assert(c:observe(path, function(answer) if answer then seen[#seen + 1] = answer.body end end))
  dev:sleep("200ms")
  assert(c:put(path, "two").ok)
  dev:sleep("300ms")
  assert(seen[1] == "one" and seen[#seen] == "two", table.concat(seen, ","))
  assert(o:cancel() == true and o:active() == false)
  assert(c:get("/nosuch").code == "4.04")

  -- MQTT 5 over the second connection, to the first one; the answer of a handler comes back
  assert(dev:subscribe("ask", function(q) return { got = q.payload } end))
  local none5, why5 = m:request { topic = "ask", payload = "question", timeout = "2s" }
  assert(none5 == nil or none5:json().got == "question", why5)
  local heard
  assert(m:subscribe("news", function(n) heard = n end))
  assert(m:publish("news", "x", { qos = 1, wait = true,
    user = { a = { "1", "2" } }, content_type = "t", correlation = "c\0d", expiry = 60 }))
  dev:sleep("200ms")
  assert(heard and heard.user.a[2] == "2" and heard.content_type == "t" and heard.correlation == "c\0d" and heard.expiry <= 60)

  -- a webhook: asked over its own address
  assert(w:serve("/hook", function(q) return { status = 201, body = { got = q.json.n, path = q.path } } end))
  local at = assert(w:served_at())
  local back = assert(dev:open(iotix.http { url = at }))
  local answer = assert(back:post("/hook", { n = 7 }))
  assert(answer.status == 201 and answer:json().got == 7 and answer:json().path == "/hook", answer.body)
  assert(back:close() and not back:close())
  dev:publish("done", "yes", { retain = true })
  dev:sleep("1h")
end }
return iotix.scenario { name = "several", groups = { g }, test = function(run)
  iotix.expect.message { topic = "g/g-1/done", within = "15s" }
end }
]==])
    assert.are.equal(0, r.code, r.text)
    assert.is_nil(r.text:find(" error ", 1, true), r.text)
  end)

  it("refuses what a protocol has no place for, at the author's line", function()
    for _, case in ipairs {
      { [[iotix.coap { url = "coap://embedded", token = "hidden-word" }]], 'unknown key "token"' },
      { [[iotix.mqtt { broker = "embedded", version = "6" }]], "one of: 3.1.1, 4, 5, got" },
      { [[iotix.mqtt { broker = "embedded", version = "5", user_properties = { a = "x\0y" } }]], "one with a NUL byte" },
      { [[iotix.http { url = "http://embedded", headers = { ["a\0b"] = "x" } }]], "got the key" },
      { [[iotix.mqtt { broker = "mqtts://embedded", tls = { psk = { identity = "x" } } }]], "tls: psk: key is missing" },
    } do
      local r = run(("local iotix = require 'iotix'\nlocal g = iotix.group { name = 'g', connection = %s }\n"):format(case[1])
        .. "return iotix.scenario { name = 's', groups = { g } }")
      assert.are.equal(104, r.code, r.text)
      assert.is_truthy(r.text:find(":2: error", 1, true), r.text)
      assert.is_truthy(r.text:find(case[2], 1, true), r.text)
      assert.is_nil(r.text:find("tls: tls:", 1, true) or r.text:match("got[^\n]*hidden%-word"), r.text)
    end
  end)

  it("cannot be had in virtual time, which says so", function()
    local r = run([==[
local iotix = require "iotix"
local web = iotix.http { url = "http://127.0.0.1:9" }
local g = iotix.group { name = "g", behaviour = function(dev)
  dev:connect()
  local function tell(what, ok, why, code) dev:log("error", what .. ": " .. tostring(ok) .. " " .. why .. " " .. code) end
  tell("open", dev:open(web))
  tell("request", dev:request { topic = "x" })
  tell("serve", dev:serve("/x", print))
end }
return iotix.scenario { name = "v", duration = "5s", groups = { g } }
]==], "--virtual", "--for", "2s", "--sink", "ndjson=" .. proc.dir() .. "/out.ndjson")
    for _, what in ipairs { "open", "request", "serve" } do
      assert.is_truthy(r.text:find(what .. ": nil [^\n]*virtual time[^\n]*unsupported"), what .. ": " .. r.text)
    end
  end)
end)
