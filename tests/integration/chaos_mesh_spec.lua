-- iotix-run chaos export: what it writes is taken by a cluster with Chaos Mesh. chaos_mesh/check.py holds every document against the
-- CRDs, with unknown fields refused, and against the rules of the admission webhook, which the CRDs do not know.
local json = require "cjson"
local proc = require "integration.proc"

local checker = proc.root .. "/tests/integration/chaos_mesh/check.py"

local function missing()
  if proc.shell("python3 -c 'import yaml'", 20).code == 0 then return nil end
  if proc.ci then error("python3-yaml is not here") end
  return pending("python3-yaml is not here")
end

local head = [[
local iotix = require "iotix"
local chaos = iotix.chaos
local function task(dev) assert(dev:connect()) end
local groups = { iotix.group { name = "sensors", count = 20, behaviour = task }, iotix.group { name = "valves", count = 5, behaviour = task } }
]]

-- Exports the timeline that `body` returns: documents by name, the text.
local function export(body, args)
  local dir = proc.dir()
  local path = proc.write(dir .. "/s.lua", head .. "local function timeline() " .. body .. "\nend\n"
    .. "return iotix.scenario { name = \"fleet\", duration = \"1h\", groups = groups, timeline = timeline() }\n")
  local line = { "chaos", "export", path }
  for _, a in ipairs(args or {}) do line[#line + 1] = a end
  local r = proc.run(line, 20)
  assert.are.equal(0, r.code, r.err .. r.out)
  local yaml = proc.write(dir .. "/out.yaml", r.out)
  local c = proc.shell("python3 " .. checker .. " " .. yaml, 30)
  assert.are.equal(0, c.code, c.err .. "\n" .. r.out)
  local list, by_name = json.decode(c.out), {}
  for _, doc in ipairs(list) do by_name[doc.metadata.name] = doc end
  return by_name, r.out, list
end

local function has(text, ...)
  for _, part in ipairs { ... } do assert.is_truthy(text:find(part, 1, true), part .. " is not in:\n" .. text) end
end

describe("chaos export", function()
  teardown(proc.cleanup)

  it("is checked by rules that bite", function()
    if missing() then return end
    local r = proc.shell("python3 " .. checker .. " --bite", 30)
    assert.are.equal(0, r.code, r.err)
    assert.is_true(tonumber(r.out) >= 30, r.out)
  end)

  it("takes every profile, once and again and again, with and without a target", function()
    if missing() then return end
    local body = [[
      local list = {}
      for _, p in ipairs(chaos.profiles()) do
        list[#list + 1] = chaos.link(p.name)
        list[#list + 1] = chaos.link(p.name, { name = "again " .. p.name, group = "valves", from = "10s", to = "20s",
          every = not p.fault.during and "1m" or nil, fraction = 0.255 })
      end
      return list]]
    local _, text, list = export(body)
    assert.is_true(#list >= 14, text)
    for _, doc in ipairs(list) do
      local spec = doc.kind == "Schedule" and doc.spec.networkChaos or doc.spec
      assert.is_true(spec.direction == "to" or spec.action == "partition", doc.metadata.name)
    end
    has(text, "cannot be impaired without --target", "a measured trace cannot be expressed", "mtu: cannot be expressed",
      "loss in bursts (Gilbert-Elliott, 4 packets", "windows of its own (spread)", "begins 10s into the run", "group valves")
    local docs = export(body, { "--target", "app=broker", "--namespace", "iot", "--selector", "app=gateway", "--selector", "x=no" })
    local spec = docs["poor-cellular-netem"].spec
    assert.are.same({ "netem", "both", "100ms", "5" }, { spec.action, spec.direction, spec.delay.latency, spec.loss.loss })
    assert.are.same({ app = "gateway", x = "no" }, spec.selector.labelSelectors)
    assert.are.same({ "iot" }, spec.selector.namespaces)
    assert.are.same({ app = "broker" }, spec.target.selector.labelSelectors)
    assert.are.equal("500kbit", docs["poor-cellular-rate"].spec.bandwidth.rate)
    local again = docs["again-satellite-link-rate-down"].spec
    assert.are.same({ "@every 60s", "10s", "fixed-percent", "26" },
      { again.schedule, again.networkChaos.duration, again.networkChaos.mode, again.networkChaos.value })
    local cut = docs["intermittent-connectivity-partition"].spec
    assert.are.same({ "@every 300s", "30s", "partition" }, { cut.schedule, cut.networkChaos.duration, cut.networkChaos.action })
  end)

  it("writes the numbers in the units that are expected", function()
    if missing() then return end
    local docs = export([[return {
      chaos.link({ latency = { value = "1.5ms", jitter = "250us", correlation = "25%" }, reorder = { rate = "1%", gap = 5 },
        duplicate = "0.125%", corrupt = 0.001, bandwidth = { rate = "1.5mbit", queueTime = "200ms", burst = 3000, full = "drop" } },
        { name = "all", from = 0, to = "90s" }),
      chaos.link({ latency = { ramp = { from = "100ms", to = "300ms", over = "1m" } }, bandwidth = 9601 }, { name = "varies" }),
      chaos.link({ loss = 1e-9 }, { name = "rare" }) }]])
    assert.are.equal("0.0000001", docs["rare-netem-up"].spec.loss.loss)
    local spec = docs["all-netem-up"].spec
    assert.are.same({ latency = "1500us", jitter = "250us", correlation = "25", reorder = { reorder = "1", gap = 5 } }, spec.delay)
    assert.are.same({ "0.125", "0.1", "90s" }, { spec.duplicate.duplicate, spec.corrupt.corrupt, spec.duration })
    assert.are.same({ rate = "1500kbit", limit = 37500, buffer = 3000 }, docs["all-rate-up"].spec.bandwidth)
    assert.are.equal("200ms", docs["varies-netem-up"].spec.delay.latency)
    assert.are.equal("9601bit", docs["varies-rate-up"].spec.bandwidth.rate)
  end)

  it("says in a comment what cannot be expressed, and leaves nothing out in silence", function()
    if missing() then return end
    local docs, text, list = export([[return {
      chaos.partition { name = "hosts", hosts = { "10.0.0.0/8", "broker.test" }, direction = "up" },
      chaos.partition { name = "ports", hosts = { "10.1.2.3" }, ports = { 1883, 8883 } },
      chaos.partition { name = "but-dns", allow = { protocols = { "dns" } } },
      chaos.link({ halfOpen = true, reset = true, slowClose = "1s", dns = { fail = "5%" }, connect = { refuse = "5%" },
        tls = { fail = "5%" } }, { name = "odd" }),
      chaos.disconnect { fraction = 0.5, from = "10s" }, chaos.storm { from = "20s" }, chaos.clock { offset = "1h" },
      chaos.broker("kill", { from = "30s", to = "40s" }), chaos.custom(function() end),
      chaos.link({ partition = true, during = { on = "1s", every = "10s" } }, { name = "nested", to = "1m", every = "2m" }) }]])
    assert.are.equal(2, #list, text)
    assert.are.same({ "10.0.0.0/8", "broker.test" }, docs["hosts-partition"].spec.externalTargets)
    assert.are.equal("to", docs["hosts-partition"].spec.direction)
    assert.are.same({ "10.1.2.3:1883", "10.1.2.3:8883" }, docs["ports-partition"].spec.externalTargets)
    has(text, "exceptions (allow)", "halfOpen:", "reset:", "slowClose:", "dns:", "connect:", "tls:", "connections of single devices",
      "a PodChaos of the broker's pods", "a TimeChaos", "a function of the scenario", "windows (during) within windows")
  end)

  it("writes names that YAML would take for something else, and keeps those of documents apart", function()
    if missing() then return end
    local names = { "no", "12", "1e3", "~", "null", "a 'b' \\\"c\\\"", "# x", "- x", "&a *b !c %d @e `f", "back\\\\slash", "naïve é 🌧", "\\194\\133x",
      "\\226\\128\\168x", "\\239\\187\\191x", "A b", "a-B", "🌧" }
    local lines = {}
    for _, name in ipairs(names) do
      lines[#lines + 1] = string.format("chaos.link({ loss = 0.5 }, { name = \"%s\" })", name)
    end
    local _, _, list = export("return { " .. table.concat(lines, ",\n") .. " }")
    assert.are.equal(#names, #list)
    for i, name in ipairs(names) do
      assert.are.equal(loadstring("return \"" .. name .. "\"")(), list[i].metadata.annotations["iotix/experiment"])
    end
  end)

  it("refuses what admission would refuse", function()
    local path = proc.write(proc.dir() .. "/s.lua", head .. "return iotix.scenario { name = \"x\", duration = 1, groups = groups }\n")
    for args, says in pairs {
      ["--selector a"] = "KEY=VALUE", ["--selector a=b\\ c"] = "is no label", ["--target -a=b"] = "--target",
      ["--namespace A"] = "is no namespace", ["--mode some"] = "random-max-percent", ["--mode fixed"] = "needs a value",
      ["--mode fixed-percent --value 101"] = "101", ["--mode all --value 1"] = "has no value", ["--value 3"] = "is for a mode",
    } do
      local r = proc.shell(proc.program .. " chaos export " .. path .. " " .. args, 20)
      assert.are.equal(2, r.code, args .. r.out .. r.err)
      has(r.err, says)
    end
    local r = proc.run({ "chaos", "export", path }, 20)
    assert.are.equal(0, r.code, r.err)
    has(r.out, "# It has no experiments.")
  end)
end)
