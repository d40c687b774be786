-- A protocol written in Lua: the line protocol over TCP (HELLO client → OK; PUBn topic payload → ACK n; MSG topic payload).
-- It needs a server that speaks it: iotix-run scenarios/lua-adapter.lua -p server=host:port
local iotix = require "iotix"

local params = iotix.params {
  server = { type = "string", default = "127.0.0.1:4000", help = "host:port of a server of the line protocol" },
  devices = { type = "integer", default = 10, help = "How many devices" },
}

local line = iotix.adapter {
  name = "line",
  default_port = 4000,
  options = { greeting = "string" },

  -- Returns a true value once the server has let the device in; nil, message, code otherwise.
  connect = function(conn)
    local link, message, code = conn:dial()
    if not link then return nil, message, code end
    link:write((conn.options.greeting or "HELLO") .. " " .. conn:field("client_id") .. "\n")
    local answer
    answer, message, code = link:read_line("5s")
    if not answer then return nil, message, code end
    if answer ~= "OK" then return nil, "refused: " .. answer, "refused" end
    conn.link, conn.number = link, 0
    -- What the server sends comes at any time: a task of its own reads it.
    conn:spawn(function()
      while true do
        local text, why, reason = link:read_line()
        if not text then return conn:offline(why, reason) end
        local topic, payload = text:match("^MSG (%S+) ?(.*)$")
        if not topic then
          conn:wake(text) -- an acknowledgement
        elseif not conn:wake("MSG " .. topic, payload) then -- no request waited for it
          conn:message(topic, payload)
        end
      end
    end)
    return true
  end,

  -- Returns true once it is done: for QoS 1 when the server has acknowledged it.
  publish = function(conn, message)
    local word = "PUB"
    if message.qos > 0 then
      conn.number = conn.number + 1
      word = word .. conn.number
    end
    local ok, why, code = conn.link:write(word .. " " .. message.topic .. " " .. message.payload .. "\n")
    if not ok or message.qos == 0 then return ok, why, code end
    return conn:wait("ACK " .. conn.number, "5s")
  end,

  -- dev:request, dev:get and the like: each call is a task of its own. Here PUB X/ask is answered by MSG X/answer.
  request = function(conn, request)
    local topic = request.path:sub(2)
    local ok, why, code = conn.link:write("PUB " .. topic .. "/ask " .. request.payload .. "\n")
    if not ok then return nil, why, code end
    return conn:wait("MSG " .. topic .. "/answer")
  end,

  disconnect = function(conn) conn.link:flush("500ms") end,
}

return iotix.scenario {
  name = "lua-adapter",
  duration = "5s",
  groups = {
    iotix.group {
      name = "meters",
      count = params.devices,
      connection = line { url = "line://" .. params.server, reconnect = { initial = "200ms", max = "2s" } },
      behaviour = function(dev)
        assert(dev:connect())
        dev:on("message", function(message) print("got " .. message.topic .. " " .. message.payload) end)
        dev:publish("meters/" .. dev.id .. "/ask", "reading", { qos = 1, wait = true })
        local answer, why = dev:request { path = "clock/" .. dev.id, payload = "time", timeout = "5s" }
        print(answer and "asked, and heard " .. answer.body or "asked, but " .. why)
        for i in dev:every("500ms", { jitter = "100ms" }) do
          dev:publish("meters/" .. dev.id, tostring(i), { qos = i % 2 })
        end
      end,
    },
  },
}
