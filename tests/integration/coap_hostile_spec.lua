-- iotix-run against a CoAP server that breaks the rules (hostile_coap.py): each breach ends in a clear failure or is ignored as the
-- RFC says, the device goes on, and the run ends in time.
local proc = require "integration.proc"
local cjson = require "cjson"

-- One device a case: what the server does, and what the device gets: a body, or a code of a failure.
local UDP = {
  { "ok", "ok" },
  { "unknown-critical", nil, "protocol" },
  { "unknown-critical-separate", nil, "timeout" },
  { "repeated-critical", nil, "protocol" },
  { "overlong-critical", nil, "protocol" },
  { "overlong-elective", "ok" },
  { "repeated-elective", "ok" },
  { "delta-15", nil, "timeout" },
  { "length-15", nil, "timeout" },
  { "no-payload", nil, "timeout" },
  { "wrong-token", nil, "timeout" },
  { "long-token", nil, "timeout" },
  { "wrong-id", nil, "timeout" },
  { "copies", "ok" },
  { "before-its-ack", "ok" },
  { "reset", nil, "refused" },
  { "empty-ack", nil, "timeout" },
  { "nothing", nil, "timeout" },
  { "truncated", nil, "timeout" },
  { "version-2", nil, "timeout" },
  { "signalling", "ok" },
  { "oversized", nil, "limit" },
  { "noise", "ok" },
  { "block-skipped", nil, "protocol" },
  { "block-larger", nil, "protocol" },
  { "block-smaller", ("x"):rep(128) .. ("y"):rep(64) },
  { "block-short", nil, "protocol" },
  { "block-long", nil, "protocol" },
  { "block-endless", nil, "limit" },
  { "block-first-for-ever", nil, "timeout" },
  { "block-etag", nil, "protocol" },
  { "block-7", nil, "protocol" },
  { "upload-other-block", nil, "protocol" },
  { "upload-larger", nil, "protocol" },
  { "upload-for-ever", "" },
  { "watch" },
}
local TCP = {
  { "ok", "ok" },
  { "unknown-critical", nil, "protocol" },
  { "length-lie", nil, "protocol" },
  { "token-lie", nil, "protocol" },
  { "option-lie", nil, "protocol" },
  { "release", nil, "closed" },
  { "abort", nil, "closed" },
  { "half", nil, "closed" },
  { "garbage", nil, "protocol" },
  { "csm-1", "ok" },
  { "csm-huge", "ok" },
  { "csm-bad", nil, "protocol" },
  { "ping-flood", "ok" },
  { "stray", "ok" },
  { "nothing", nil, "timeout" },
}

local SCENARIO = [[
local iotix = require "iotix"
local udp, tcp = %s, %s
local function is(case, r, message, code)
  local name, body, want = case[1], case[2], case[3]
  if want then
    assert(not r, name .. " was answered")
    assert(code == want, ("%%s: %%s, not %%s: %%s"):format(name, tostring(code), want, tostring(message)))
  else
    assert(r and (r.body or "") == body, ("%%s: %%s"):format(name, tostring(message or r.status)))
  end
end
-- It still works; a device that lost its server waits for the next connection.
local function goes_on(dev)
  for _ = 1, 200 do
    local r = dev:get("/ok")
    if r then assert(r.body == "ok") break end
    iotix.sleep("20ms")
  end
  assert(dev:publish("/ok", "done", { qos = 1, wait = true }))
end
local function watch(dev)
  local seen = {}
  local w = assert(dev:observe("/watch", function(r) if r then seen[#seen + 1] = r.body end end))
  for _ = 1, 100 do if #seen >= 3 then break end iotix.sleep("20ms") end
  assert(table.concat(seen, " ") == "10 12 13", table.concat(seen, " "))
  w:cancel()
  for _ = 1, 100 do if tonumber(assert(dev:get("/resets")).body) >= 3 then break end iotix.sleep("20ms") end
  assert(tonumber(assert(dev:get("/resets")).body) >= 3, "what came behind the end was not reset")
  assert(#seen == 3)
end
local function group(name, url, cases, options)
  options.url = url
  options.reconnect = { initial = "20ms", max = "50ms" }
  options.timeout = "%s"
  options.max_response = "64KB"
  return iotix.group { name = name, count = #cases, on_error = "fail", connection = iotix.coap(options), behaviour = function(dev)
    local case = cases[dev.index]
    assert(dev:connect())
    if case[1] == "watch" then
      watch(dev)
    elseif case[1]:find("^upload") then
      is(case, dev:put("/" .. case[1], ("z"):rep(3000)))
    else
      is(case, dev:get("/" .. case[1]))
    end
    goes_on(dev)
  end }
end
local function no_connection(name, url, want, tls)
  return iotix.group { name = name, count = 3, on_error = "fail",
    connection = iotix.coap { url = url, tls = tls, connect_timeout = "400ms", reconnect = false }, behaviour = function(dev)
      local ok, message, code = dev:connect()
      assert(not ok and code == want, ("%%s: %%s: %%s"):format(name, tostring(code), tostring(message)))
    end }
end
local psk = { psk = { identity = "me", key = "736563726574" } }
return iotix.scenario { name = "hostile", duration = "%s", groups = {
  group("udp", "coap://127.0.0.1:%d", udp, { ack_timeout = "150ms", ack_random_factor = 1, max_retransmit = 2 }),
  group("tcp", "coap+tcp://127.0.0.1:%d", tcp, {}),
  no_connection("tcp-silent", "coap+tcp://127.0.0.1:%d", "timeout"),
  no_connection("tcp-rude", "coap+tcp://127.0.0.1:%d", "protocol"),
  no_connection("dtls-silent", "coaps://127.0.0.1:%d", "timeout"),
  no_connection("dtls-rude", "coaps://127.0.0.1:%d", "tls", psk),
  no_connection("tls-silent", "coaps+tcp://127.0.0.1:%d", "timeout", psk),
  no_connection("tls-rude", "coaps+tcp://127.0.0.1:%d", "tls"),
}, thresholds = { ["messages_acked{group:udp}"] = "count == %d", ["messages_acked{group:tcp}"] = "count == %d", coap_malformed = "count > 50" } }
]]

-- As Lua: { { "name", "body" or nil, "code" or nil }, … }
local function literal(cases)
  local lines = {}
  for i, case in ipairs(cases) do
    lines[i] = ("{ %q, %s, %s }"):format(case[1], case[2] and ("%q"):format(case[2]) or "nil", case[3] and ("%q"):format(case[3]) or "nil")
  end
  return "{ " .. table.concat(lines, ", ") .. " }"
end

describe("iotix-run and a hostile CoAP server", function()
  after_each(proc.cleanup)

  it("fails clearly, ignores what is to be ignored, and goes on", function()
    local p = proc.start(proc.command { "python3", proc.root .. "/tests/integration/hostile_coap.py" })
    local ports = {}
    for _, name in ipairs { "port", "silent", "rude" } do
      ports[name] = assert(tonumber(proc.wait(10, function() return p.out():match(name .. " (%d+)") end)), p.err())
    end
    local dir = proc.dir()
    local text = SCENARIO:format(literal(UDP), literal(TCP), 1 * proc.patience .. "s", 4 * proc.patience .. "s", ports.port, ports.port,
      ports.silent, ports.rude, ports.silent, ports.rude, ports.silent, ports.rude, #UDP, #TCP)
    local r = proc.run({ proc.write(dir .. "/s.lua", text), "--summary-json", dir .. "/s.json" }, 30)
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_nil(r.err:find("Sanitizer", 1, true), r.err)
    assert.is_true(r.seconds < 12 * proc.patience, r.seconds)
    assert.is_truthy(cjson.decode(proc.read(dir .. "/s.json")))
    assert.is_nil(p.code(), p.err())
    -- In words that say what happened.
    for _, words in ipairs { "is no CoAP: the first message is", "expected TLS" } do assert.is_truthy(r.out:find(words, 1, true), words .. r.out) end
  end)
end)
