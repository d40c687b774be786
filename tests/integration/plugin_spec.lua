-- Protocol plugins of the host: what --plugin says of broken files, C adapters and Lua adapters against a server, links.
local cjson = require "cjson"
local proc = require "tests.integration.proc"

local built = {}
local function plugin(source)
  if built[source] == nil then
    local so = proc.dir() .. "/" .. source .. ".so"
    local r = proc.shell("cc -std=gnu11 -fPIC -shared -fvisibility=hidden -Wl,-z,defs -DIOTIX_PLUGIN -I" .. proc.root
      .. "/runtime -o " .. so .. " " .. proc.root .. "/deploy/plugins/line/" .. source .. ".c $(pkg-config --cflags --libs jansson)")
    assert(r.code == 0, r.err)
    built[source] = so
  end
  return built[source]
end

local function server(...)
  local p = proc.start(proc.command { "python3", "-u", proc.root .. "/tests/integration/line_server.py", ... })
  p.port = tonumber(proc.wait(10, function() return p.out():match("port (%d+)") end))
  function p.count(pattern)
    local _, n = p.out():gsub(pattern, "")
    return n
  end
  return p
end

local function scenario(text) return proc.write(proc.dir() .. "/s.lua", "local iotix = require 'iotix'\n" .. text) end

local function run(text, ...)
  local dir = proc.dir()
  local r = proc.run({ scenario(text), "--progress", "none", "--seed", "1", "--summary-json", dir .. "/s.json", ... }, 40)
  r.json = proc.read(dir .. "/s.json") or ""
  return r
end

local function metric(r, name)
  local n = 0
  for _, m in ipairs(r.json ~= "" and cjson.decode(r.json).metrics or {}) do
    if m.name == name then n = n + (m.values.count or 0) end
  end
  return n
end

describe("plugins", function()
  teardown(proc.cleanup)

  it("are refused with what is wrong, before anything runs", function()
    local text = 'return iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "g", behaviour = function() end } } }'
    local file = scenario(text)
    for path, pattern in pairs {
      ["/nowhere.so"] = "error IOTX050: plugin /nowhere.so: No such file",
      ["/tmp"] = "this is a directory",
      [file] = "this is no shared object",
    } do
      for _, mode in ipairs { { file }, { "check", file } } do
        local r = proc.run({ mode[1], mode[2] or "-q", "--plugin", path })
        assert.are.equal(104, r.code, r.err)
        assert.is_truthy(r.err:find(pattern, 1, true), r.err)
      end
    end
    local twice = proc.run({ file, "--plugin", plugin("tcp"), "--plugin", plugin("tcp"), "--progress", "none" })
    assert.are.equal(104, twice.code)
    assert.is_truthy(twice.err:find('an adapter named "line" is there already', 1, true), twice.err)
  end)

  it("without its plugin a scheme names the adapters there are", function()
    local r = run [[return iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "g",
      connection = iotix.connection { url = "line://127.0.0.1:1" }, behaviour = function(dev) dev:connect() end } } }]]
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find('no adapter for "line"; valid: mqtt', 1, true), r.err)
  end)

  it("speak TCP: acknowledged, answered, refused once, cut off and reconnected, on two shards", function()
    local s = server("--refuse", "1", "--cut", "3", "--cuts", "1")
    local r = run(([[
      local function b(dev)
        assert(dev:connect { timeout = "10s" })
        dev:on("message", function(m) print("got " .. m.topic .. "=" .. m.payload) end)
        for i in dev:every("100ms") do dev:publish("t/" .. dev.id .. "/ask", "v" .. i, { qos = i %% 2 }) end
      end
      return iotix.scenario { name = "p", duration = "3s", groups = { iotix.group { name = "line", count = 4, behaviour = b,
        connection = iotix.connection { url = "line://127.0.0.1:%d",
          options = { reconnect = { initial = "50ms", max = "100ms" } } } } } }]]):format(s.port),
      "--plugin", plugin("tcp"), "--shards", "2")
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(5, s.count("hello line%-%d")) -- four and one again
    assert.is_truthy(r.err:find("got t/line%-%d/answer=v%d"), r.err)
    assert.is_truthy(s.count("pub t/line%-%d/ask v%d") > 40)
    assert.is_truthy(proc.wait(5, function() return s.count("bye line%-%d") >= 4 end), s.out())
    assert.are.equal(1, metric(r, "reconnects"), r.json:sub(1, 3000))
  end)

  it("speak UDP, and nobody there is an error of the messages, not of the device", function()
    local s = server()
    local text = [[
      local function b(dev)
        assert(dev:connect())
        dev:on("message", function(m) print("got " .. m.topic .. "=" .. m.payload) end)
        print(tostring(select(3, dev:publish("a", "x", { qos = 1 }))))
        for i in dev:every("100ms") do dev:publish("u/" .. dev.id .. "/ask", "v" .. i) end
      end
      return iotix.scenario { name = "p", duration = "1s", groups = { iotix.group { name = "udp", count = 3, behaviour = b,
        connection = iotix.connection { url = "line+udp://127.0.0.1:%d" } } } }]]
    local r = run(text:format(s.port), "--plugin", plugin("udp"))
    assert.are.equal(0, r.code, r.err)
    assert.is_truthy(r.err:find("got u/udp%-%d/answer=v%d"), r.err)
    assert.is_truthy(r.err:find("unsupported", 1, true), r.err)
    assert.is_truthy(s.count("udp u/udp%-%d/ask v%d") >= 15)
    s.signal(9)
    assert.is_truthy(s.wait(10))
    r = run(text:format(s.port), "--plugin", plugin("udp"))
    assert.is_truthy(r.json:find("reason:refused", 1, true) or r.json:find('"refused"', 1, true), r.json:sub(1, 3000))
  end)

  it("speak TLS without knowing it, and say which certificate is wrong", function()
    local dir = proc.dir()
    local made = proc.shell(([[set -e; cd %s
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem -days 2 -subj /CN=line \
        -addext subjectAltName=IP:127.0.0.1]]):format(proc.quote(dir)))
    assert.are.equal(0, made.code, made.err)
    local s = server("--tls", dir .. "/c.pem", dir .. "/k.pem", "--cut", "3", "--cuts", "1")
    local text = [[
      local function b(dev)
        local ok, why, code = dev:connect { timeout = "10s", retry = false }
        if not ok then print("failed " .. code .. " " .. why) return end
        dev:on("message", function(m) print("got " .. m.topic .. "=" .. m.payload) end)
        for i in dev:every("100ms") do dev:publish("t/" .. dev.id .. "/ask", "v" .. i, { qos = i %% 2 }) end
      end
      return iotix.scenario { name = "p", duration = "2s", groups = { iotix.group { name = "line", count = 3, behaviour = b,
        connection = iotix.connection { url = "line://127.0.0.1:%d", tls = { %s },
          options = { reconnect = { initial = "50ms", max = "100ms" } } } } } }]]
    local r = run(text:format(s.port, ("ca = %q"):format(dir .. "/c.pem")), "--plugin", plugin("tcp"))
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(4, s.count("hello line%-%d")) -- three and one again
    assert.is_truthy(r.err:find("got t/line%-%d/answer=v%d"), r.err)
    assert.is_truthy(s.count("pub t/line%-%d/ask v%d") > 20, s.out())
    assert.is_truthy(proc.wait(5, function() return s.count("bye line%-%d") >= 3 end), s.out())
    r = run(text:format(s.port, ""), "--plugin", plugin("tcp"))
    assert.is_truthy(r.err:find("failed tls 127.0.0.1:" .. s.port .. ": the server's certificate", 1, true), r.err)
    assert.is_truthy(r.err:find("give it in tls.ca", 1, true), r.err)
    local plain = server()
    r = run(text:format(plain.port, ""), "--plugin", plugin("tcp"))
    assert.is_truthy(r.err:find("failed %a+ 127.0.0.1:" .. plain.port .. ": "), r.err)
    r = run(text:format(s.port, ("cert = %q, key = %q"):format(dir .. "/c.pem", dir .. "/none")), "--plugin", plugin("tcp"))
    assert.are.equal(104, r.code, r.err)
    assert.is_truthy(r.err:find("tls.key: cannot open " .. dir .. "/none", 1, true), r.err)
  end)

  it("have options of their own checked, and those of every adapter", function()
    local function bad(options)
      return run(([[return iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "g",
        connection = iotix.connection { url = "line://127.0.0.1:1", options = %s }, behaviour = function() end } } }]]):format(options),
        "--plugin", plugin("tcp"))
    end
    local r = bad('{ reconect = true }')
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find('unknown option "reconect"', 1, true) and r.err:find('did you mean "reconnect"', 1, true), r.err)
    assert.is_truthy(bad('{ reconnect = { factor = 0 } }').err:find("factor: expected 1 to 100", 1, true))
    assert.is_truthy(bad('{ source = "nonsense" }').err:find("nonsense", 1, true))
  end)
end)

describe("adapters in Lua", function()
  teardown(proc.cleanup)

  it("run the example against a server", function()
    local s = server("--refuse", "1", "--cut", "4", "--cuts", "1")
    local r = proc.run({ "scenarios/lua-adapter.lua", "-p", "server=127.0.0.1:" .. s.port, "-p", "devices=3", "-d", "3s",
      "--progress", "none" }, 40)
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(4, s.count("hello meters%-%d"))
    assert.is_truthy(r.err:find("got meters/meters%-%d/answer reading"), r.err)
    assert.is_truthy(r.err:find("asked, and heard time", 1, true), r.err)
    assert.is_nil(r.err:find("traceback", 1, true), r.err)
    assert.is_truthy(proc.wait(5, function() return s.count("bye meters%-%d") >= 3 end), s.out())
  end)

  it("end their connection, not the device, when they raise; and make it anew", function()
    local s = server()
    local r = run(([[
      local calls = 0
      local line = iotix.adapter { name = "line",
        connect = function(conn)
          local link = assert(conn:dial())
          link:write("HELLO " .. conn:field("client_id") .. "\n")
          assert(link:read_line("2s") == "OK")
          conn.link = link
          return true
        end,
        publish = function(conn, m)
          calls = calls + 1
          if calls == 2 then error("oops") end
          return conn.link:write("PUB " .. m.topic .. " " .. m.payload .. "\n")
        end }
      local function b(dev)
        assert(dev:connect())
        dev:on("disconnect", function() print("lost") end)
        for i in dev:every("100ms") do dev:publish("t", tostring(i)) end
      end
      return iotix.scenario { name = "p", duration = "2s", groups = { iotix.group { name = "g", behaviour = b,
        connection = line { url = "line://127.0.0.1:%d", reconnect = { initial = "50ms", jitter = false } } } } }]]):format(s.port))
    assert.are.equal(0, r.code, r.err)
    assert.are.equal(2, s.count("hello g%-1"))
    assert.is_truthy(r.err:find("oops", 1, true) and r.err:find("lost", 1, true), r.err)
    assert.is_truthy(s.count("pub g/g%-1/t %d+") > 8, s.out() .. r.err)
  end)

  it("answer requests and observations of devices, and bring requests of others to them", function()
    local r = run([==[
      local line = iotix.adapter { name = "loop",
        connect = function(conn)
          conn:serves_at("loop://here")
          return true
        end,
        publish = function() return true end,
        request = function(conn, r)
          if r.path == "/raise" then error("oops") end
          if r.path == "/slow" then conn:wait("never") end
          if r.path == "/no" then return nil, "no such thing", "not_found" end
          if r.path == "/bad" then return { stauts = 1 } end
          if r.path == "/self" then
            local a, m, c = conn:ask { method = r.method, path = "/served?x=1", payload = r.payload, headers = { a = "b" } }
            if not a then return nil, m, c end
            return a
          end
          return { status = 201, body = r.method .. " " .. r.path .. " " .. r.payload .. " " .. tostring(r.headers["X-a"]) .. tostring(r.options.depth), headers = { Kind = "echo" } }
        end,
        observe = function(conn, r, tell)
          for i = 1, 3 do
            if not tell("n" .. i) then return true end
            conn:wait("tick", "50ms")
          end
          return nil, "gone", "closed"
        end,
        serve = function(conn, path, attributes) print("serve " .. path .. " " .. tostring(attributes.title)) return path ~= "/not" or nil, "not here" end,
        unserve = function(conn, path) print("unserve " .. path) return true end,
        notify = function(conn, path)
          print("notify " .. path)
          local a = conn:ask { path = path }
          print("notified " .. a.status .. " " .. a.body)
          return true
        end }
      local function b(dev)
        print("early " .. tostring(dev:serve("/served", { title = "T" }, function(r) return { status = 203, body = r.method .. r.path .. r.query .. r.payload .. r.headers.a, headers = { k = "v" } } end)))
        print("offline " .. tostring(select(3, dev:get("/x"))))
        assert(dev:connect())
        local r = assert(dev:request { method = "PUT", path = "/x", payload = "P", headers = { ["X-a"] = "h" }, options = { depth = 3 } })
        print("put " .. r.status .. " " .. r.body .. " " .. r.headers.kind .. " " .. tostring(r.ok) .. " " .. tostring(r.latency < 1))
        print("no " .. table.concat({ tostring((dev:get("/no"))), select(2, dev:get("/no")) }, "|"))
        print("slow " .. tostring(select(3, dev:get("/slow", { timeout = "100ms" }))))
        r = assert(dev:post("/self", "body"))
        print("self " .. r.status .. " " .. r.body .. " " .. r.headers.k)
        print("at " .. dev:served_at())
        dev:serve("/n", function() return "state" end)
        dev:serve("/not", function() return "state" end)
        assert(dev:notify("/n"))
        dev:sleep("100ms")
        dev:serve("/n", nil)
        local seen = {}
        dev:observe("/o", function(m, why, code) seen[#seen + 1] = m and m.body or why .. "/" .. code end)
        dev:sleep("400ms")
        print("observed " .. table.concat(seen, ","))
        local o = dev:observe("/o", function(m) print("second " .. tostring(m and m.body)) end)
        dev:sleep("20ms")
        print("cancel " .. tostring(o:cancel()))
        dev:sleep("200ms")
        dev:on("disconnect", function() print("lost") end)
        print("raise " .. table.concat({ select(2, dev:get("/raise")) }, "|"))
        print("again " .. tostring(dev:wait("connect", "5s") ~= nil))
        print("bad " .. table.concat({ select(2, dev:get("/bad")) }, "|"))
        dev:publish("a", "b")
      end
      return iotix.scenario { name = "p", duration = "2500ms", groups = { iotix.group { name = "g", behaviour = b, connection = line { url = "loop://127.0.0.1:1", reconnect = { initial = "50ms", jitter = false } } } } }
    ]==])
    assert.are.equal(0, r.code, r.err)
    for _, text in ipairs { "early true", "offline state", "put 201 PUT /x P h3 echo true true", "no nil|no such thing|not_found",
      "slow timeout", "self 203 POST/servedx=1bodyb v", "at loop://here", "serve /served T", "warn  adapter loop: serve of /not: not here",
      "notify /n", "notified 200 state", "unserve /n", "observed n1,n2,n3,gone/closed", "second n1", "cancel true", "again true" } do
      assert.is_truthy(r.err:find(text, 1, true), text .. "\n" .. r.err)
    end
    assert.is_nil(r.err:find("second n[23]"), r.err)
    assert.is_truthy(r.err:find("raise [^\n]*s.lua:%d+: oops|invalid\n"), r.err)
    assert.is_truthy(r.err:find('bad request: unknown key "stauts"; valid: body, headers, status; did you mean "status"?|invalid', 1, true), r.err)
    assert.are.equal(4, select(2, r.err:gsub("serve /served T", "")) + 1) -- at the start, and after each of two reconnects
    assert.are.equal(9, metric(r, "requests"))
    assert.are.equal(2, metric(r, "requests_served"))
  end)

  it("have caps, and do without requests and serving", function()
    local r = run [==[
      local made = iotix.adapter { name = "loop", connect = function() return true end, publish = function() return true end,
        observe = function(conn) conn:wait({}) end, serve = function() return true end }
      local bare = iotix.adapter { name = "bare", connect = function() return true end, publish = function() return true end }
      local asks = iotix.adapter { name = "asks", publish = function() return true end, request = function() return "" end, serve = function() return true end,
        connect = function(conn)
          conn:spawn(function()
            conn:wait("up", "50ms")
            local function ask(o) return select(2, pcall(conn.ask, conn, o)) end
            print("ask " .. tostring(ask { path = "x" }))
            print("ask " .. tostring(ask { pth = "/x" }))
            local a = conn:ask { path = "/nobody" }
            print("nobody " .. a.status)
            print("late " .. table.concat({ select(2, conn:ask { path = "/late", timeout = "100ms" }) }, "|"))
            print("at " .. tostring(select(2, pcall(conn.serves_at, conn, 7))))
            conn:offline("enough")
          end)
          return true
        end }
      local function why(...) return tostring(select(3, ...)) end
      local function a(dev)
        assert(dev:connect())
        local full, refused = 0, 0
        for i = 1, 70 do
          local ok, text, code = dev:observe("/x", { timeout = "300ms" }, function(m, text, code)
            refused = refused + (code == "limit" and 1 or 0)
            if i == 1 then print("first " .. code .. " " .. text) end
          end)
          full = full + (code == "limit" and 1 or 0)
        end
        dev:sleep("500ms")
        print("full " .. full .. " refused " .. refused)
        print("unknown " .. why(dev:served_at()))
        for i = 1, 65 do
          local ok, text, code = dev:serve("/p" .. i, print)
          if not ok then print("paths " .. i .. " " .. code) end
        end
      end
      local function b(dev)
        assert(dev:connect())
        print("bare " .. why(dev:get("/x")) .. " " .. why(dev:serve("/x", print)) .. " " .. why(dev:served_at()))
      end
      local function c(dev)
        dev:serve("/late", function() dev:sleep("1s") end)
        assert(dev:connect())
        print("observe " .. why(dev:observe("/x", print)))
        print("large " .. why(dev:post("/x", ("x"):rep(300000))))
        dev:sleep("10s")
      end
      local function of(adapter, name) return adapter { url = name .. "://127.0.0.1:1", reconnect = false } end
      return iotix.scenario { name = "p", duration = "1s", groups = {
        iotix.group { name = "a", behaviour = a, connection = of(made, "loop") }, iotix.group { name = "b", behaviour = b, connection = of(bare, "bare") },
        iotix.group { name = "c", behaviour = c, connection = of(asks, "asks") } } }
    ]==]
    for _, text in ipairs { "full 6 refused 1", "first timeout 127.0.0.1:1: no answer to OBSERVE within 300 ms", "large limit", "observe unsupported", "unknown state", "paths 65 limit", "bare unsupported unsupported unsupported",
      'ask conn:ask: path: expected a path such as "/temperature"', 'did you mean "path"', "nobody 404",
      "late the device did not answer within 100 ms|timeout", "expected a URL of at most 1024 bytes" } do
      assert.is_truthy(r.err:find(text, 1, true), text .. "\n" .. r.err)
    end
  end)

  it("say why a connection did not come up, and time out", function()
    local s = server("--mute")
    local r = run(([[
      local line = iotix.adapter { name = "line",
        connect = function(conn)
          local link = conn:dial()
          link:write("HELLO x\n")
          return link:read_line()
        end, publish = function() return true end }
      local none = iotix.adapter { name = "none", schemes = { "none", "nil" },
        connect = function(conn) return nil, "no " .. conn.options.what, "protocol" end, publish = function() return true end,
        options = { what = "string" } }
      local function b(dev)
        local ok, message, code = dev:connect { timeout = "5s" }
        print(tostring(ok) .. "|" .. message .. "|" .. code)
        dev:sleep("10s")
      end
      return iotix.scenario { name = "p", duration = "1s", groups = {
        iotix.group { name = "a", behaviour = b, connection = line { url = "line://127.0.0.1:%d", connect_timeout = "300ms", reconnect = false } },
        iotix.group { name = "b", behaviour = b, connection = none { url = "nil://127.0.0.1:1", what = "luck", reconnect = false } } } }]]):format(s.port))
    assert.is_truthy(r.err:find("nil|127.0.0.1:%d+: connect did not end within 300 ms|timeout"), r.err)
    assert.is_truthy(r.err:find("nil|127.0.0.1:1: no luck|protocol", 1, true), r.err)
  end)

  it("check what they are given", function()
    local good = "connect = function() end, publish = function() end"
    for text, pattern in pairs {
      ['iotix.adapter { name = "X", ' .. good .. ' }'] = "name: expected a name of at most 15",
      ['iotix.adapter { name = "mqtt", ' .. good .. ' }'] = 'an adapter named "mqtt" is there already',
      ['iotix.adapter { name = "a", schemes = { "ws" }, ' .. good .. ' }'] = 'scheme "ws" is taken already',
      ['iotix.adapter { name = "a", connect = 1, publish = print }'] = "connect: expected a function",
      ['iotix.adapter { name = "a", publish = print }'] = "connect is missing",
      ['iotix.adapter { name = "a", conect = print, ' .. good .. ' }'] = 'did you mean "connect"',
      ['iotix.adapter { name = "a", options = { x = "nothing" }, ' .. good .. ' }'] = "options: x: expected one of",
      ['iotix.adapter { name = "a", ' .. good .. ' } { url = "b://x:1" }'] = "url: expected a URL such as a://host:port",
      ['iotix.connection { url = "nonsense" }'] = "url: expected a URL",
    } do
      local r = run(text .. '\nreturn iotix.scenario { name = "x", duration = "1s", groups = { iotix.group { name = "g", behaviour = function() end } } }')
      assert.are.equal(104, r.code, text .. "\n" .. r.err)
      assert.is_truthy(r.err:find(pattern, 1, true), text .. "\n" .. r.err)
    end
  end)
end)

describe("links", function()
  teardown(proc.cleanup)

  it("read lines and bytes, time out, are refused and closed", function()
    local s = server()
    local r = run(([[
      local function b(dev)
        local link = assert(iotix.link.connect { host = "127.0.0.1", port = %d })
        assert(link:write("HELLO me\n"))
        print("line " .. link:read_line("2s"))
        local nothing, message, code = link:read(1, "100ms")
        print("timeout " .. tostring(nothing) .. message .. code)
        link:write("PUB7 a/ask b\n")
        print("bytes " .. link:read(3, "2s") .. "|" .. link:read_line("2s"))
        print("more " .. link:read(nil, "2s"))
        print("raised " .. tostring(select(2, pcall(link.receive, link))))
        print("raised " .. tostring(select(2, pcall(link.read, link, 0))))
        iotix.spawn(function() print("reader " .. tostring(select(3, link:read(1)))) end)
        dev:sleep("50ms")
        print("raised " .. tostring(select(2, pcall(link.read, link, 1))))
        link:close()
        print("closed " .. select(3, link:write("x")))
        print("refused " .. select(3, iotix.link.connect { host = "127.0.0.1", port = 1 }))
        print("unknown " .. select(3, iotix.link.connect { host = "no.such.host.invalid", port = 1 }))
        local udp = assert(iotix.link.datagram { host = "127.0.0.1", port = %d })
        udp:send("PUB d/ask e")
        print("datagram " .. udp:receive("2s"))
        local n = 0
        repeat
          local more = iotix.link.connect { host = "127.0.0.1", port = %d }
          n = n + (more and 1 or 0)
        until not more
        print("links " .. n)
        print("key " .. tostring(select(2, pcall(iotix.link.connect, { host = "x", prt = 1 }))))
        dev:sleep("10s")
      end
      return iotix.scenario { name = "p", duration = "3s", groups = { iotix.group { name = "g", behaviour = b } } }]]):format(
      s.port, s.port, s.port), "-b", "mqtt://127.0.0.1:1")
    for _, text in ipairs { "line OK", "timeout nilnothing came in timetimeout", "bytes ACK| 7", "more MSG a/answer b",
      "it is a stream; use read or read_line", "expected 1 to 1048576 bytes", "another task waits at this link already",
      "reader cancelled", "closed closed", "refused refused", "unknown resolve", "datagram MSG d/answer e", "links 15",
      'unknown key "prt"' } do
      assert.is_truthy(r.err:find(text, 1, true), text .. "\n" .. r.err)
    end
    assert.is_truthy(proc.wait(5, function() return s.count("bye") >= 1 end)) -- closed with the device
  end)

  it("stall a server that sends more than is read, and go on writing", function()
    local s = server()
    local r = run(([[
      local function b(dev)
        local link = assert(iotix.link.connect { host = "127.0.0.1", port = %d })
        link:write("FLOOD 40000000\n")
        dev:sleep("1s")
        print("stalled " .. tostring(link:write("STILL here\n")))
        local n = 0
        n = n + #assert(link:read(700000, "5s"))
        n = n + #assert(link:read_line("5s")) + 1
        while n < 40000000 do n = n + #assert(link:read(nil, "5s")) end
        print("read " .. n)
        link:close()
      end
      return iotix.scenario { name = "p", duration = "6s", groups = { iotix.group { name = "g", behaviour = b, memory = "4MB" } } }]]):format(
      s.port), "-b", "mqtt://127.0.0.1:1")
    assert.is_truthy(r.err:find("stalled true", 1, true), r.err)
    assert.is_truthy(r.err:find("read 40000000", 1, true), r.err)
    assert.is_truthy(proc.wait(5, function() return s.out():find("flooded 40000000", 1, true) end), s.out())
    assert.is_truthy(proc.wait(5, function() return s.out():find("still here", 1, true) end), s.out())
  end)
end)
