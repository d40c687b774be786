-- One device, several protocols: each asks a web service who it is (HTTP), sends telemetry (MQTT) and fetches its firmware block by
-- block (CoAP), in one behaviour. Everything runs against servers that iotix-run starts.
-- Run it:  iotix-run scenarios/several-protocols.lua
local iotix = require "iotix"

local provisioning = iotix.http { url = iotix.env("PROVISIONING", "http://embedded"), timeout = "5s", retries = 2 }
local downloads = iotix.coap { url = iotix.env("DOWNLOADS", "coap://embedded"), block_size = 512 }

-- What the service knows of this device; the embedded one only remembers, so the device says first what it wants to hear.
local function provision(dev)
  local api = assert(dev:open(provisioning, { timeout = "10s" }))
  local path = "/devices/" .. dev.id
  assert(api:put(path, { interval = 0.5, channel = "readings" }))
  local answer, why = api:get(path)
  if not answer or not answer.ok then error("not provisioned: " .. tostring(why or answer.status), 0) end
  api:close()
  return answer:json()
end

local function update(dev)
  local store = assert(dev:open(downloads, { timeout = "10s" }))
  local image, why = store:get("/large?size=4096", { timeout = "20s" })
  store:close()
  if not image then return dev:publish("firmware", { ok = false, error = why }) end
  return dev:publish("firmware", { ok = image.ok, bytes = #image.body, seconds = image.latency }, { retain = true })
end

local fleet = iotix.group {
  name = "fleet", count = 20, qos = 1,
  launch = { strategy = "linear", rate = 20 },
  behaviour = function(dev)
    local settings = provision(dev)
    assert(dev:connect())
    iotix.spawn(update, dev) -- telemetry goes on meanwhile
    for n in dev:every(settings.interval, { jitter = "100ms" }) do
      dev:publish(settings.channel, { n = n })
    end
  end,
}

return iotix.scenario {
  name = "several-protocols",
  duration = "4s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { fleet },
  thresholds = {
    ["requests{group:fleet}"] = "count >= 60", -- two of HTTP and one of CoAP for each device
    request_errors = "rate < 1%",
    ["messages_sent{protocol:mqtt}"] = "count > 100",
  },
  test = function(run)
    iotix.expect.message {
      label = "every device has its firmware", topic = "fleet/+/firmware", count = 20, within = "6s",
      where = function(m) return m.json and m.json.ok and m.json.bytes == 4096 end,
    }
    assert(run:group("fleet"):wait("online", 20, "5s"))
  end,
}
