-- HTTP devices on bad networks, against the server that a run brings itself: what a link adds to each request, that partitions,
-- resets and refused connects lose nothing which the retry policy covers, and how connects fail.
local proc = require "integration.proc"
local cjson = require "cjson"

local function run(text)
  local dir = proc.dir()
  local r = proc.run({ proc.write(dir .. "/s.lua", "local iotix = require 'iotix'\nlocal chaos = iotix.chaos\n" .. text),
    "--summary-json", dir .. "/s.json", "--seed", "7" }, 40)
  local s = proc.read(dir .. "/s.json")
  return r, s and cjson.decode(s)
end

describe("HTTP on a bad network", function()
  teardown(proc.cleanup)

  it("takes a round trip of the link for each request, and another one for a connect and a handshake", function()
    local r = run [[
      local groups = {}
      for _, scheme in ipairs { "http", "https" } do
        groups[#groups + 1] = iotix.group { name = scheme, count = 4, connection = iotix.http { url = scheme .. "://embedded" },
          behaviour = function(dev)
            assert(dev:connect())
            iotix.sleep("100ms") -- the fault is there
            for n = 1, 5 do
              local a = assert(dev:get("/echo/" .. n))
              assert(a:json().path == "/echo/" .. n)
            end
            print("all five")
          end }
      end
      return iotix.scenario { name = "slow", duration = "2500ms", groups = groups, timeline = { chaos.link { latency = "100ms" } },
        thresholds = {
          ["request_latency{group:http}"] = { "min >= 200ms", "max >= 400ms", "med < 380ms" },
          ["request_latency{group:https}"] = { "min >= 200ms", "max >= 600ms", "med < 380ms" },
          tcp_latency = { "min >= 200ms" }, tls_latency = { "min >= 200ms" },
          connects = "count == 8", requests = "count == 40", request_errors = "rate == 0",
        } }
    ]]
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(8, select(2, r.err:gsub("all five", "")), r.err)
  end)

  it("comes back from a partition, from resets and from refused connects without a lost request", function()
    local r = run [[
      local function ask(dev)
        assert(dev:connect())
        local n = 0
        for _ in dev:every("25ms") do
          n = n + 1
          local a, why = dev:get("/echo/" .. n)
          if not a then error("lost " .. why) end
          assert(a:json().path == "/echo/" .. n)
          if n == 50 then break end
        end
        print("all fifty")
      end
      local groups = {}
      for _, scheme in ipairs { "http", "https" } do
        groups[#groups + 1] = iotix.group { name = scheme, count = 4, behaviour = ask,
          connection = iotix.http { url = scheme .. "://embedded", retries = { max = 8, initial = "50ms", factor = 1.5 } } }
      end
      return iotix.scenario { name = "cut", duration = "4s", groups = groups,
        timeline = {
          chaos.link({ latency = "5ms" }, { from = "100ms", to = "2500ms" }),
          chaos.partition { from = "300ms", to = "1100ms" },
          chaos.link({ reset = { every = "150ms" }, connect = { refuse = 0.3 } }, { from = "1300ms", to = "2200ms" }),
        },
        thresholds = { request_errors = "rate == 0", http_retries = "count >= 1", reconnects = "count >= 8",
          request_latency = { "max >= 700ms", "max < 3s" }, faults_active = "value == 0" } }
    ]]
    assert.are.equal(0, r.code, r.err .. r.out)
    assert.are.equal(8, select(2, r.err:gsub("all fifty", "")), r.err)
  end)

  it("says why it could not connect, and connects when the fault has ended", function()
    local r = run [[
      local groups, timeline = {}, {}
      for name, case in pairs { refused = { "http", { connect = { refuse = 1 } } }, tls = { "https", { tls = { fail = 1 } } },
        timeout = { "http", { connect = { timeout = 1 } } } } do
        groups[#groups + 1] = iotix.group { name = name, connection = iotix.http { url = case[1] .. "://embedded", connect_timeout = "300ms" },
          behaviour = function(dev)
            assert(dev:connect())
            iotix.sleep("100ms")
            local a, why, code = dev:get("/echo/1")
            print("<" .. name .. " " .. tostring(code) .. ">" .. tostring(why))
            iotix.sleep("1s")
            print("<" .. name .. " " .. assert(dev:get("/echo/2")).status .. ">")
          end }
        timeline[#timeline + 1] = chaos.link(case[2], { group = name, to = "800ms" })
      end
      return iotix.scenario { name = "codes", duration = "1800ms", groups = groups, timeline = timeline }
    ]]
    for _, name in ipairs { "refused", "tls", "timeout" } do
      assert.is_truthy(r.err:find(("<%s %s>"):format(name, name), 1, true), r.err .. r.out)
      assert.is_truthy(r.err:find(("<%s 200>"):format(name), 1, true), r.err .. r.out)
    end
  end)
end)
