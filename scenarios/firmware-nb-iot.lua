-- New firmware for meters on NB-IoT, fetched over CoAP block by block (RFC 7959). The vendor puts the image and a manifest on the server;
-- each meter asks for the manifest, fetches the image, checks length and checksum, and reports. Half of the meters ask for large blocks.
-- Look at: the largest request_latency of each group, which is the image: a block is a round trip of 1.6 s, whatever its size; blocks of
-- half the size take twice the time.
-- coap_retransmissions: with the standard's ACK_TIMEOUT of 2 s a meter sends again what was only slow; -p ack_timeout=2s shows it.
-- Try: -p image=8192; -p ack_timeout=2s; chaos.link("lte-m", …) in place of "nb-iot".
-- Run it:  iotix-run scenarios/firmware-nb-iot.lua
local iotix = require "iotix"
local chaos = iotix.chaos

local p = iotix.params {
  meters = { type = "integer", default = 15, help = "of each of the two groups" },
  image = { type = "integer", default = 2048, help = "bytes of the image" },
  ack_timeout = { type = "duration", default = "6s", help = "before a message is sent again the first time" },
}
local server = iotix.env("SERVER", "coap://embedded")
local backend = iotix.mqtt {} -- where the vendor says how far it is

-- Adler-32 (RFC 1950): enough to find what a network or a server did to an image.
local function checksum(bytes)
  local a, b = 1, 0
  for i = 1, #bytes do
    a = (a + bytes:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b * 65536 + a
end

local names = { "large-blocks", "small-blocks" }

local function vendor(dev)
  local bytes = {}
  for i = 1, p.image do bytes[i] = string.char(math.random(0, 255)) end
  local image = table.concat(bytes)
  local manifest = { version = "2.0.1", bytes = #image, checksum = checksum(image) }
  assert(dev:connect())
  local broker = assert(dev:open(backend))
  assert(assert(dev:put("/firmware/image", image, { timeout = "20s" })).ok)
  assert(assert(dev:put("/firmware/manifest", manifest)).ok)

  local done, failed = 0, 0
  local waiting = {}
  for _, group in ipairs(names) do
    for i = 1, p.meters do
      waiting[group .. "-" .. i] = true
      assert(dev:put("/rollout/" .. group .. "-" .. i, {})) -- no report yet
    end
  end
  for _ in dev:every("500ms") do
    for id in pairs(waiting) do
      local answer = dev:get("/rollout/" .. id)
      local report = answer and answer.ok and answer:json()
      if report and report.version then
        waiting[id] = nil
        if report.version == manifest.version and report.ok then done = done + 1 else failed = failed + 1 end
      end
    end
    broker:publish("rollout", { done = done, failed = failed })
  end
end

local function update(dev)
  assert(dev:connect())
  local manifest
  repeat
    local answer = dev:get("/firmware/manifest", { timeout = "60s" })
    manifest = answer and answer.ok and answer:json()
    if not manifest then dev:sleep("1s") end
  until manifest
  local image, why = dev:get("/firmware/image", { timeout = "60s" }) -- the timeout is for each block
  local ok = image and image.ok and #image.body == manifest.bytes and checksum(image.body) == manifest.checksum
  if not ok then
    dev:log("warn", "the image is not what the manifest says: " .. tostring(why or image.code .. ", " .. #image.body .. " bytes"))
  end
  local put = dev:put("/rollout/" .. dev.id, { version = manifest.version, ok = ok, seconds = image and image.latency },
    { timeout = "60s" })
  if not put then error("the report did not get through", 0) end
  dev:sleep("1h")
end

local function meters(name, block_size)
  return iotix.group { name = name, count = p.meters, behaviour = update, launch = { strategy = "linear", rate = 50 },
    connection = iotix.coap { url = server, block_size = block_size, ack_timeout = p.ack_timeout, timeout = "60s" } }
end

return iotix.scenario {
  name = "firmware-nb-iot",
  broker = iotix.env("BROKER", "embedded"),
  groups = {
    iotix.group { name = "vendor", behaviour = vendor, connection = iotix.coap { url = server } },
    meters("large-blocks", 1024), meters("small-blocks", 512),
  },
  timeline = { chaos.link("nb-iot", { groups = names }) },
  thresholds = {
    ["request_latency{group:large-blocks}"] = { "min > 1.2s", "max < 60s" }, -- min: the network really is slow; max: the image
    ["request_latency{group:small-blocks}"] = { "min > 1.2s", "max < 90s" },
    request_errors = "rate < 10%", -- 4.04 until the vendor has put the manifest there
    coap_timeouts = "count == 0",
  },
  test = function()
    iotix.expect.message {
      label = "every meter runs the image that the vendor built", topic = "vendor/+/rollout", within = "90s",
      where = function(m) return m.json and m.json.done == 2 * p.meters end,
    }
  end,
}
