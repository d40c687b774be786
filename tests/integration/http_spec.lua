-- HTTP devices against nginx (HTTP/1.1, HTTP/2 over TLS, gzip, chunks, redirects, basic credentials, client certificates), and
-- against servers that misbehave.
local proc = require "integration.proc"
local capture = require "integration.capture"
local cjson = require "cjson"

local function run(text, limit)
  local dir = proc.dir()
  local r = proc.run({ proc.write(dir .. "/s.lua", text), "--summary-json", dir .. "/s.json" }, limit or 30)
  local s = proc.read(dir .. "/s.json")
  return r, s and cjson.decode(s)
end

-- A CA, a certificate of 127.0.0.1, nginx with both: { port, tls_port, ca, ca_key, requests() }.
local function nginx()
  local probe = io.popen("PATH=$PATH:/usr/sbin command -v nginx")
  local path = probe:read("*l")
  probe:close()
  if not path then
    assert(not proc.ci, "nginx is missing (nginx-light)")
    return nil
  end
  local dir = proc.dir()
  local made = proc.shell(([[set -e; cd %s
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.csr -subj /CN=nginx
    printf 'subjectAltName=IP:127.0.0.1' > ext
    openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out s.pem
    printf 'meter:{PLAIN}pa55' > users
    mkdir html; for i in $(seq 2000); do echo "line $i"; done > html/big.txt; echo hello > html/hello]]):format(proc.quote(dir)))
  assert(made.code == 0, made.err)
  local port, tls_port = proc.port(), proc.port()
  proc.write(dir .. "/conf", ([[
    daemon off; worker_processes 1; pid DIR/pid; error_log DIR/errors; USER
    events { worker_connections 512; }
    http {
      log_format l '$connection|$server_protocol|$request_method|$request_uri|$status|$remote_user|$ssl_client_s_dn|$ssl_session_reused|$request_length';
      access_log DIR/log l;
      client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
      types { text/plain txt; } gzip on; gzip_types text/plain; gzip_min_length 100; gzip_http_version 1.0;
      server {
        listen 127.0.0.1:PORT; listen 127.0.0.1:TLS ssl http2; root DIR/html; keepalive_requests 100000;
        ssl_certificate DIR/s.pem; ssl_certificate_key DIR/s.key; ssl_client_certificate DIR/ca.pem; ssl_verify_client optional;
        location /moved { return 301 /hello; }
        location /loop { return 302 /loop; }
        location /in/ { client_max_body_size 1k; return 204; }
        location /private { auth_basic x; auth_basic_user_file DIR/users; try_files /hello =404; }
        location /mtls { if ($ssl_client_verify != SUCCESS) { return 403; } try_files /hello =404; }
      }
    }]]):gsub("DIR", dir):gsub("PORT", tostring(port)):gsub("TLS", tostring(tls_port))
    :gsub("USER", io.popen("id -u"):read("*l") == "0" and "user root;" or ""))
  local p = proc.start(proc.command { path, "-p", dir, "-c", dir .. "/conf", "-e", dir .. "/errors" })
  assert(proc.wait(10, function() return proc.shell("curl -so /dev/null http://127.0.0.1:" .. port .. "/hello").code == 0 end) or
    proc.wait(5, function() return proc.read(dir .. "/pid") end), proc.read(dir .. "/errors"))
  p.port, p.tls_port, p.ca, p.ca_key = port, tls_port, dir .. "/ca.pem", dir .. "/ca.key"
  --- What was asked: a list of { connection, version, method, path, status, user, dn, reused }.
  function p.requests()
    local list = {}
    for line in (proc.read(dir .. "/log") or ""):gmatch("[^\n]+") do
      local f = {}
      for word in (line .. "|"):gmatch("(.-)|") do f[#f + 1] = word end
      list[#list + 1] = { connection = f[1], version = f[2], method = f[3], path = f[4], status = f[5], user = f[6], dn = f[7], reused = f[8] }
    end
    return list
  end
  return p
end

-- Requests of one kind, and on how many connections they came.
local function count(requests, match)
  local n, connections, m = 0, {}, 0
  for _, r in ipairs(requests) do
    local fits = true
    for k, v in pairs(match) do fits = fits and r[k] == v end
    if fits then
      n = n + 1
      if not connections[r.connection] then m = m + 1 end
      connections[r.connection] = true
    end
  end
  return n, m
end

describe("HTTP with nginx", function()
  local server
  setup(function() server = nginx() end)
  teardown(proc.cleanup)

  it("keeps a connection for each device, decodes gzip, follows redirects", function()
    if not server then return pending("nginx is missing") end
    local wire = capture.start { [server.port] = "http" }
    local r, s = run(([[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 20, connection = iotix.http { url = "http://127.0.0.1:%d", redirects = 3, username = "meter", password = "pa55" },
        behaviour = function(dev)
          assert(dev:connect())
          local a = assert(dev:get("/big.txt"))
          assert(a.status == 200 and #a.body > 15000 and a.headers["content-encoding"] == "gzip" and a.body:find("line 2000\n", 1, true))
          a = assert(dev:get("/moved"))
          assert(a.status == 200 and a.body == "hello\n")
          assert(dev:get("/private").status == 200)
          local none, _, code = dev:get("/loop")
          assert(none == nil and code == "limit", code)
          assert(dev:publish("in/telemetry", { n = 1 }, { qos = 1, wait = true }))
          local ok, why = dev:publish("in/telemetry", ("x"):rep(2000), { qos = 1, wait = true })
          assert(not ok and why:find("413"), why)
        end }
      return iotix.scenario { name = "h", duration = "2s", groups = { g } }]]):format(server.port))
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_falsy(r.err:find("assertion", 1, true), r.err)
    local requests = server.requests()
    assert.are.equal(20, (count(requests, { path = "/big.txt", version = "HTTP/1.1", status = "200" })))
    assert.are.equal(20, (count(requests, { path = "/private", user = "meter", status = "200" })))
    assert.are.equal(20 * 4, (count(requests, { path = "/loop" })))
    local _, connections = count(requests, { path = "/moved" })
    assert.are.equal(20, connections)
    assert.is_true(s ~= nil)
    wire:clean(200)
  end)

  it("speaks HTTP/2 over TLS with a certificate minted for each device", function()
    if not server then return pending("nginx is missing") end
    local wire = capture.start { [server.tls_port] = "tls" }
    local r = run(([[
      local iotix = require "iotix"
      local g = iotix.group { name = "m", count = 10,
        connection = iotix.http { url = "https://127.0.0.1:%d", version = "2",
          tls = { ca = %q, mint = { ca = %q, ca_key = %q, name = "${deviceId}" } } },
        behaviour = function(dev)
          assert(dev:connect())
          for _ = 1, 3 do
            local a = assert(dev:get("/mtls"))
            assert(a.status == 200, a.status)
          end
        end }
      return iotix.scenario { name = "h", duration = "2s", groups = { g } }]]):format(server.tls_port, server.ca, server.ca, server.ca_key))
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.is_falsy(r.err:find("assertion", 1, true), r.err)
    local requests = server.requests()
    local n, connections = count(requests, { path = "/mtls", version = "HTTP/2.0", status = "200" })
    assert.are.same({ 30, 10 }, { n, connections })
    assert.are.equal(3, (count(requests, { path = "/mtls", dn = "CN=m-7,O=iotix" })))
    wire:clean(60)
  end)

  it("names the unknown CA of a server", function()
    if not server then return pending("nginx is missing") end
    local r = run(([[
      local iotix = require "iotix"
      local g = iotix.group { name = "m", count = 1, connection = iotix.http { url = "https://127.0.0.1:%d" },
        behaviour = function(dev)
          assert(dev:connect())
          local a, why, code = dev:get("/hello")
          assert(a == nil and code == "tls" and why:find("ca", 1, true), tostring(why))
          print("refused: " .. why)
        end }
      return iotix.scenario { name = "h", duration = "1s", groups = { g } }]]):format(server.tls_port))
    assert.is_truthy(r.err:find("refused: ", 1, true), r.err)
  end)
end)

-- A server of this directory that prints "port N".
local function python(name)
  local p = proc.start(proc.command { "python3", "-u", proc.root .. "/tests/integration/" .. name })
  p.port = tonumber(proc.wait(10, function() return p.out():match("port (%d+)") end))
  return p
end

-- One device for each case, which asks for `path`; what it was told: { [case] = "STATUS BODY" or "CODE TEXT" }.
local function answers(cases, options, duration)
  local groups = {}
  for name, url in pairs(cases) do
    groups[#groups + 1] = ([[iotix.group { name = %q, connection = iotix.http { url = %q, %s }, behaviour = function(dev)
      dev:connect()
      local a, why, code = dev:post(%q, "body", { headers = { Cookie = "c=1" } })
      print("<" .. dev.group .. ">" .. (a and a.status .. " " .. a.body or code .. " " .. why) .. "</>") end }]]):format(
      name:gsub("[^%w]", "-"), url:match("^%a+://[^/]+"), options, url:match("^%a+://[^/]+(/.*)$") or "/x")
  end
  local r = run(([[local iotix = require "iotix"
    return iotix.scenario { name = "h", duration = %q, groups = { %s } }]]):format(duration, table.concat(groups, ",\n")))
  local told = {}
  for name, text in r.err:gmatch("<([%w%-]+)>(.-)</>") do told[name] = text end
  return told, r
end

describe("HTTP with servers that misbehave", function()
  teardown(proc.cleanup)

  it("ends each request with an error that says what was wrong, and goes on", function()
    local p = python "hostile_http.py"
    local r = run(([[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 2, connection = iotix.http { url = "http://127.0.0.1:%d", timeout = "500ms", max_response = "64KB" },
        behaviour = function(dev)
          assert(dev:connect())
          for _, case in ipairs { { "endless-headers", "limit" }, { "endless-1xx", "limit" }, { "endless-body", "limit" }, { "slow-body", "timeout" },
            { "slow-head", "timeout" }, { "silent", "timeout" }, { "early-close", "closed" }, { "short", "closed" }, { "bad-chunk", "protocol" },
            { "not-http", "protocol" }, { "bad-gzip", "protocol" }, { "bomb", "limit" }, { "reset", "closed" }, { "endless-chunks", "limit" },
            { "endless-trailer", "limit" }, { "huge-chunk", "protocol" }, { "endless-line", "limit" }, { "nul-header", "protocol" },
            { "negative-length", "protocol" }, { "layers", "protocol" }, { "only-103", "closed" }, { "switch", "timeout" },
            { "to-file", "protocol" }, { "to-gopher", "protocol" }, { "to-itself", "limit" }, { "to-long", "limit" } } do
            local a, why, code = dev:get("/" .. case[1])
            if a ~= nil or code ~= case[2] then error(case[1] .. ": " .. tostring(code) .. " " .. tostring(why)) end
          end
          assert(dev:get("/good").body == "good")
          assert(dev:get("/to-nothing").status == 307)
          print("all done")
        end }
      return iotix.scenario { name = "h", duration = "6s", groups = { g } }]]):format(p.port))
    local _, done = r.err:gsub("all done", "")
    assert.are.equal(2, done, r.err)
  end)

  it("shows no other origin what is for the first one", function()
    local base = "http://127.0.0.1:" .. python("hostile_http.py").port
    local told = answers({ own = base .. "/show", elsewhere = base .. "/to-elsewhere", userinfo = base .. "/to-userinfo",
      scheme = base .. "/to-scheme", at = base .. "/to-at" }, 'token = "sesame", headers = { ["X-Api-Key"] = "key" }', "2s")
    for _, text in ipairs { "Authorization: Bearer sesame", "X-Api-Key: key", "Cookie: c=1", "body" } do
      assert.is_truthy(told.own:find(text, 1, true), told.own)
    end
    for _, case in ipairs { "elsewhere", "userinfo", "scheme", "at" } do
      assert.is_truthy(told[case]:find("^200 POST /show .*body$"), told[case])
      for _, secret in ipairs { "sesame", "X-Api-Key", "Cookie" } do
        assert.is_nil(told[case]:find(secret, 1, true), case .. ": " .. told[case])
      end
    end
  end)

  it("of HTTP/2 send frames that are none, or too many of them", function()
    local p = proc.start(proc.command { "python3", "-u", proc.root .. "/tests/integration/hostile_http2.py" })
    assert(proc.wait(10, function() return p.out():find("ready", 1, true) end))
    local cases, want = {}, {
      good = "200 good", goaway_complete = "200 good", data_after_end = "200 good", hpack_bomb = "limit", header_of_1mb = "limit",
      endless_continuation = "limit", many_headers = "limit", gzip_bomb = "limit", endless_body = "limit", endless_1xx = "limit",
      rst_refused = "closed", rst_cancel = "closed", rst_middle = "closed", rst_no_error = "closed", goaway_unseen = "closed", cut_middle = "closed",
      cut_first = "closed", goaway_middle = "timeout", silent = "timeout", empty_data_flood = "limit .*neither headers nor a body", slow_body = "timeout", padding = "timeout",
      push = "timeout" }
    for name, port in p.out():gmatch("(%S+) (%d+)\n") do cases[name] = "http://127.0.0.1:" .. port .. "/x" end
    local told, r = answers(cases, 'version = "2", timeout = "1500ms", max_response = "64KB"', "3s")
    for name in pairs(cases) do
      local text, expected = told[name:gsub("_", "-")], want[name] or "protocol"
      local either = (name == "ping_flood" or name == "settings_flood") and text and text:find("^limit .*neither headers") -- whichever cap is first
      assert.is_truthy(either or text and text:find("^" .. expected), name .. ": " .. tostring(text) .. "\n" .. (text and "" or r.err))
      assert.is_nil(text:find("nghttp2", 1, true) or text:find("SSL routines", 1, true), text)
    end
    assert.is_nil(r.err:find("traceback", 1, true), r.err)
  end)
end)

describe("HTTP with a server that is another one", function()
  teardown(proc.cleanup)

  it("says what answered in its place", function()
    local p = python "other_servers.py"
    local cases, want = {}, {
      ["http-ssh"] = "protocol .* does not speak HTTP", ["http-mqtt"] = "protocol .* does not speak HTTP", ["http-alert"] = "protocol .*https://",
      ["http-close"] = "closed .* ended the connection without a word", ["http-http"] = "400",
      ["https-ssh"] = 'tls .*expected TLS, got the text "SSH', ["https-http"] = "tls .*got plain HTTP",
      ["https-close"] = "tls .*is this a TLS port", ["https-alert"] = "tls .*no TLS version in common" }
    for name, port in p.out():gmatch("(%a+) at (%d+)") do
      for _, scheme in ipairs { "http", "https" } do cases[scheme .. "-" .. name] = scheme .. "://127.0.0.1:" .. port .. "/x" end
    end
    local told, r = answers(cases, 'timeout = "2s"', "2s")
    for name, pattern in pairs(want) do
      assert.is_truthy(told[name] and told[name]:find("^" .. pattern), name .. ": " .. tostring(told[name]) .. r.err)
      assert.is_truthy(name == "http-http" or told[name]:find(cases[name]:match("^%a+://[^/]+"), 1, true), told[name])
      assert.is_nil(told[name]:find("SSL routines", 1, true), told[name])
    end
    -- The same server behind another protocol: what goes wrong again and again is what a timeout speaks of.
    r = run(([[local iotix = require "iotix"
      return iotix.scenario { name = "h", duration = "2s", groups = { iotix.group { name = "g", connection = iotix.mqtt { broker = "mqtts://127.0.0.1:%s" },
        behaviour = function(dev) print("<" .. select(2, dev:connect { timeout = "700ms" }) .. ">") end } } }]]):format(p.out():match("http at (%d+)")))
    assert.is_truthy(r.err:find("<not connected in time; the last attempt: .*got plain HTTP"), r.err)
  end)
end)

describe("HTTP options", function()
  teardown(proc.cleanup)

  local dir
  setup(function()
    dir = proc.dir()
    proc.write(dir .. "/rows.csv", "token,user\nabc,\n,x\n")
    local made = proc.shell("cd " .. dir .. " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k.pem -out c.pem "
      .. "-days 2 -subj /CN=a && openssl ecparam -name prime256v1 -genkey -noout -out other.pem && mkdir empty && cp k.pem empty")
    assert(made.code == 0, made.err)
  end)

  -- What `check` and (also) a run say of a group's connection, with a data file of two rows.
  local function said(connection, runs)
    local file = proc.write(dir .. "/s.lua", ([[local iotix = require "iotix"
      return iotix.scenario { name = "h", duration = "1s", groups = { iotix.group { name = "g", count = 2,
        data = iotix.data { "rows.csv" }, connection = iotix.http { %s }, behaviour = function(dev) print("<" .. dev.index, dev:connect()) end } } }]]):format(
      connection))
    return proc.run { "check", file }, runs and proc.run { file, "--progress", "none" }
  end

  it("are checked before anything connects: credentials that are not there, certificates that cannot be used", function()
    local tls = 'url = "https://127.0.0.1:9", tls = { %s }'
    for connection, text in pairs {
      ['url = "http://127.0.0.1:9", auth = "bearer"'] = 'auth is "bearer" and its devices have no token',
      ['url = "http://127.0.0.1:9", auth = "bearer", username = "u", password = "p"'] = "its devices have no token",
      ['url = "http://127.0.0.1:9", auth = "basic", token = "t"'] = 'auth is "basic" and its devices have no username',
      [tls:format 'psk = { identity = "a", key = "aabb" }'] = "HTTP has no pre-shared keys",
      [tls:format 'cert = "none.pem", key = "k.pem"'] = "tls.cert: cannot open ",
      [tls:format 'cert = "c.pem", key = "empty"'] = "/empty",
      [tls:format 'cert = "c.pem", key = "other.pem"'] = "other.pem: the key does not belong to the certificate in tls.cert: ",
      [tls:format 'cert = "k.pem", key = "k.pem"'] = "k.pem: there is no certificate in it, but a private key",
      [tls:format 'cert = "c.pem", key = "c.pem"'] = "c.pem: there is no private key in it",
      [tls:format 'ca = "k.pem"'] = "k.pem: there is no certificate in it, but a private key",
      [tls:format 'ca = "empty"'] = "empty has a certificate (PEM) in it",
      [tls:format 'ca = "rows.csv"'] = "rows.csv is no PEM file",
      ['url = "http://127.0.0.1:9", jwt = { algorithm = "ES256", key = "empty" }'] = "it names a directory",
      ['url = "http://127.0.0.1:9", jwt = { algorithm = "ES256", key = "c.pem" }'] = "the key holds no PEM private key",
      ['url = "http://127.0.0.1:9", tls = { ca = "c.pem" }'] = "is without TLS, use https://",
    } do
      local checked, ran = said(connection, true)
      for _, r in ipairs { checked, ran } do
        assert.are.equal(104, r.code, connection .. "\n" .. r.err .. r.out)
        assert.is_truthy(r.err:find(text, 1, true), connection .. "\n" .. r.err)
      end
    end
  end)

  it("have no NUL bytes", function()
    local file = proc.write(dir .. "/n.lua", [[local iotix = require "iotix"
      return iotix.scenario { name = "n", duration = "1s", groups = { iotix.group { name = "g", behaviour = function() end,
        connection = iotix.mqtt { broker = "mqtt://127.0.0.1:9", version = 5, auth_method = "a\0b" } } } }]])
    local r = proc.run { "check", file }
    assert.are.equal(104, r.code)
    assert.is_truthy(r.err:find("auth_method: expected a non-empty string without NUL bytes", 1, true), r.err)
  end)

  it("that are right pass, and need no server", function()
    for _, connection in ipairs {
      'url = "http://127.0.0.1:9", auth = "basic", username = "u"', 'url = "http://u:p@127.0.0.1:9", auth = "basic"',
      'url = "http://127.0.0.1:9", auth = "bearer", token = "${data.token}"', 'url = "https://127.0.0.1:9", tls = { cert = "c.pem", key = "k.pem" }',
      'url = "https://127.0.0.1:9", tls = { cert = "${data.token}.pem", key = "${data.token}.pem" }', 'url = "https://embedded"' } do
      local checked = said(connection)
      assert.are.equal(0, checked.code, connection .. "\n" .. checked.err)
    end
  end)

  it("keep a device offline whose own row has no credentials", function()
    local checked, ran = said('url = "http://127.0.0.1:9", auth = "bearer", token = "${data.token}"', true)
    assert.are.equal(0, checked.code, checked.err)
    assert.is_truthy(ran.err:find('auth is "bearer" and this device has no token', 1, true), ran.err)
    assert.is_truthy(ran.err:find("<1.-true"), ran.err)
  end)
end)

describe("An HTTP server that dies in the middle of a run", function()
  teardown(proc.cleanup)

  it("is found again by every device, and every request is accounted for", function()
    local port = proc.port()
    local function serve()
      local p = proc.start(proc.command { "python3", "-u", proc.root .. "/tests/integration/mortal_http.py", tostring(port) })
      assert(proc.wait(10, function() return p.out():find("ready", 1, true) end), p.err())
      return p
    end
    local first, dir, wire = serve(), proc.dir(), capture.start { [port] = "http" }
    local file = proc.write(dir .. "/s.lua", ([[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 20, connection = iotix.http { url = "http://127.0.0.1:%d", timeout = "2s",
          commands = { mode = "poll", interval = "100ms", wait = "1s" } },
        behaviour = function(dev)
          assert(dev:connect())
          assert(dev:subscribe("/poll/" .. dev.id))
          local ok, failed, after, was_down = 0, {}, 0, false
          for i in dev:every("50ms") do
            local a, why, code
            if i %% 4 == 0 then
              a, why, code = dev:post("/form", nil, { form = { { name = "a", value = ("x"):rep(20000) }, { name = "b", value = "y" } } })
            else
              a, why, code = dev:get("/x")
            end
            if a then ok = ok + 1 else failed[code] = (failed[code] or 0) + 1 end
            was_down = was_down or not a
            if a and was_down then after = after + 1 end
            if i == 60 then break end
          end
          local text = {}
          for code, n in pairs(failed) do text[#text + 1] = code .. "=" .. n end
          print(("<%%d %%d %%s>"):format(ok, after, table.concat(text, " ")))
        end }
      return iotix.scenario { name = "h", duration = "5s", groups = { g } }]]):format(port))
    local r = proc.start(proc.command { proc.program, file, "--progress", "none", "--summary-json", dir .. "/s.json" })
    local function heard(p) return select(2, p.out():gsub("POST", "")) end
    assert(proc.wait(10, function() return heard(first) > 20 end), r.err())
    first.signal(9)
    assert(first.wait(5))
    local second = serve()
    assert.are.equal(0, r.wait(40), r.err())
    local devices, ok, bad = 0, 0, 0
    for good, after, why in r.err():gmatch("<(%d+) (%d+) (.-)>") do
      devices = devices + 1
      ok = ok + tonumber(good)
      assert.is_true(tonumber(after) > 5, good .. " " .. after .. " " .. why)
      for code, n in why:gmatch("(%a+)=(%d+)") do
        assert.is_truthy(({ refused = true, closed = true })[code], code)
        bad = bad + tonumber(n)
      end
    end
    assert.are.equal(20, devices, r.err())
    assert.are.equal(1200, ok + bad)
    assert.is_true(bad > 20 and heard(second) > 20)
    local text = proc.read(dir .. "/s.json")
    local counted = {}
    for _, m in ipairs(cjson.decode(text).metrics) do
      if m.tags.group == "g" then counted[m.name] = (counted[m.name] or 0) + (tonumber(m.values.count) or 0) end
    end
    assert.are.equal(1200, counted.requests, text)
    assert.are.equal(1200, counted.request_errors)
    assert.are.equal(bad, counted.request_failures)
    assert.are.equal(ok, counted.request_latency)
    wire:clean(1000)
  end)
end)

describe("A fleet that serves", function()
  teardown(proc.cleanup)

  it("of 1,000 devices answers each of them", function()
    local dir = proc.dir()
    local file = proc.write(dir .. "/s.lua", [[
      local iotix = require "iotix"
      local g = iotix.group { name = "s", count = 1000, launch = { strategy = "linear", rate = 2000 }, connection = iotix.http { url = "http://127.0.0.1:9" },
        behaviour = function(dev)
          assert(dev:connect())
          dev:serve("/who", { methods = { "GET" } }, function() return { status = 200, body = dev.id } end)
          if dev.index == 1000 then print("<" .. dev:served_at() .. ">") end
          dev:sleep("60s")
        end }
      return iotix.scenario { name = "h", duration = "30s", groups = { g } }]])
    local r = proc.start(proc.command { proc.program, file, "--progress", "none", "--shards", "1" })
    local url = proc.wait(20, function() return r.err():match("<(http://.-)/s%-1000>") end)
    assert.is_truthy(url, r.err())
    local script = proc.write(dir .. "/ask.py", [[
import concurrent.futures, sys, urllib.request
def ask(i):
    return urllib.request.urlopen("%s/s-%d/who" % (sys.argv[1], i), timeout=10).read().decode() == "s-%d" % i
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(sum(pool.map(ask, range(1, 1001))))
]])
    local asked = proc.shell("python3 " .. script .. " " .. url, 40)
    assert.are.equal("1000\n", asked.out, asked.err)
    r.signal(2)
    assert.is_truthy(r.wait(20), r.err())
  end)
end)
