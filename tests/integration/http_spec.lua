-- HTTP devices against nginx (HTTP/1.1, HTTP/2 over TLS, gzip, chunks, redirects, basic credentials, client certificates), and
-- against servers that misbehave.
local proc = require "integration.proc"
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
  end)

  it("speaks HTTP/2 over TLS with a certificate minted for each device", function()
    if not server then return pending("nginx is missing") end
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

describe("HTTP with servers that misbehave", function()
  teardown(proc.cleanup)

  it("ends each request with an error that says what was wrong, and goes on", function()
    local p = proc.start(proc.command { "python3", proc.root .. "/tests/integration/hostile_http.py" })
    local port = tonumber(proc.wait(10, function() return p.out():match("port (%d+)") end))
    local r = run(([[
      local iotix = require "iotix"
      local g = iotix.group { name = "g", count = 2, connection = iotix.http { url = "http://127.0.0.1:%d", timeout = "500ms", max_response = "64KB" },
        behaviour = function(dev)
          assert(dev:connect())
          for _, case in ipairs { { "endless-headers", "limit" }, { "endless-1xx", "limit" }, { "endless-body", "limit" }, { "slow-body", "timeout" },
            { "slow-head", "timeout" }, { "silent", "timeout" }, { "early-close", "closed" }, { "short", "closed" }, { "bad-chunk", "protocol" },
            { "not-http", "protocol" }, { "bad-gzip", "protocol" }, { "bomb", "limit" }, { "reset", "closed" } } do
            local a, why, code = dev:get("/" .. case[1])
            if a ~= nil or code ~= case[2] then error(case[1] .. ": " .. tostring(code) .. " " .. tostring(why)) end
          end
          assert(dev:get("/good").body == "good")
          print("all done")
        end }
      return iotix.scenario { name = "h", duration = "6s", groups = { g } }]]):format(port))
    local _, done = r.err:gsub("all done", "")
    assert.are.equal(2, done, r.err)
  end)
end)
