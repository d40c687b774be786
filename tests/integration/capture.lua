-- What goes over loopback, recorded by dumpcap and judged by tshark: no packet of a test may be malformed.
--   local wire = capture.start { [port] = "mqtt", [other] = "coap" }
--   … the run …
--   wire:clean(100)        -- at least 100 packets, none of them malformed; or :stop() for the figures
-- Where ports are known only once it runs (embedded targets): capture.start(), then wire:speaks(port, "mqtt") before wire:clean.
-- TLS is judged as far as its records go: nobody has the keys. Without tshark :clean ends the test as pending (an error when CI=true).
local proc = require "integration.proc"

local M = {}

-- What a port may speak → how tshark is told, and the protocol that counts as a packet of it.
local spoken = {
  mqtt = { rules = { "tcp.port==%d,mqtt" }, counts = "mqtt" },
  http = { rules = { "tcp.port==%d,http" }, counts = "http" },
  http2 = { rules = { "tcp.port==%d,http2" }, counts = "http2" },
  websocket = { rules = { "tcp.port==%d,http" }, counts = "websocket" },
  coap = { rules = { "udp.port==%d,coap", "tcp.port==%d,coap" }, counts = "coap" },
  dtls = { rules = { "udp.port==%d,dtls" }, counts = "dtls" },
  tls = { rules = { "tcp.port==%d,tls" }, counts = "tls" },
}

local LAST = "the-last-packet-of-this-recording"

local function missing()
  for _, name in ipairs { "dumpcap", "tshark" } do
    if os.execute("command -v " .. name .. " >/dev/null") ~= 0 then
      assert(not proc.ci, name .. " is missing: deploy/packages.sh")
      return name .. " is not installed"
    end
  end
end

-- Frames of these protocols, and whatever is malformed: { frame, protocols, malformed, severities, CoAP codes, messages }.
local function frames(path, rules, counts, ports)
  local words = { "tshark", "-r", path }
  for _, rule in ipairs(rules) do
    words[#words + 1] = "-d"
    words[#words + 1] = rule
  end
  local wanted = {}
  for name in pairs(counts) do wanted[#wanted + 1] = name end
  wanted[#wanted + 1] = "_ws.malformed"
  wanted[#wanted + 1] = "_ws.expert.severity >= error"
  local own = {}
  for _, port in ipairs(ports) do own[#own + 1] = ("tcp.port == %d || udp.port == %d"):format(port, port) end
  local filter = ("(%s) && (%s)"):format(table.concat(wanted, " || "), table.concat(own, " || "))
  for _, word in ipairs { "-Y", filter, "-T", "fields", "-E", "separator=/t", "-e", "frame.number", "-e",
    "frame.protocols", "-e", "_ws.malformed", "-e", "_ws.expert.severity", "-e", "coap.code", "-e", "_ws.expert.message" } do
    words[#words + 1] = word
  end
  local r = proc.shell(proc.command(words), 60)
  assert(r.code == 0, r.err)
  return r.out:gmatch("(%d+)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\t\n]*)\t([^\n]*)\n")
end

local ERROR = 8388608 -- PI_ERROR of epan/proto.h
local function has_error(severities)
  for value in severities:gmatch("%d+") do
    if tonumber(value) >= ERROR then return true end
  end
end

-- CoAP over TCP: codes 7.01 to 7.05 are signals, whose options have numbers of their own (RFC 8323 5.2). tshark 4.0 looks them up
-- among those of requests.
local function is_signal(codes, messages)
  return tonumber(codes) and tonumber(codes) >= 225 and not messages:gsub("Invalid Option [^,]*", ""):find("%a")
end

local Capture = {}
Capture.__index = Capture

--- Ends the recording: { packets: of all protocols, by: { NAME = packets }, malformed: lines of tshark }.
function Capture:stop()
  local result = { packets = 0, by = {}, malformed = {} }
  if self.missing then return result end
  -- The kernel hands packets over in blocks: dumpcap has all of the run once it has this datagram.
  assert(proc.wait(10, function()
    os.execute("bash -c 'printf %s " .. LAST .. " >/dev/udp/127.0.0.1/" .. self.marker .. "' 2>/dev/null")
    return (proc.read(self.path) or ""):find(LAST, 1, true)
  end), "the recording lacks its last packets: " .. self.process.err())
  self.process.signal(2)
  assert(self.process.wait(10), "dumpcap does not end")
  local lost = tonumber(self.process.err():match("received/dropped on interface[^\n]-: %d+/(%d+)"))
  assert(lost == 0, "the recording lacks packets: " .. self.process.err())
  for name in pairs(self.counts) do result.by[name] = 0 end
  for frame, protocols, malformed, severities, codes, messages in frames(self.path, self.rules, self.counts, self.ports) do
    local seen = {}
    for name in protocols:gmatch("[^:]+") do
      if self.counts[name] and not seen[name] then
        seen[name] = true
        result.by[name] = result.by[name] + 1
      end
    end
    if next(seen) then result.packets = result.packets + 1 end
    if (malformed ~= "" or has_error(severities)) and not is_signal(codes, messages) then
      result.malformed[#result.malformed + 1] = ("frame %s, %s: %s"):format(frame, protocols, messages)
    end
  end
  return result
end

--- Ends the recording, and fails unless there were so many packets (of each protocol) and no malformed one. known: a pattern of what
--- this tshark calls malformed because it is older than the standard.
function Capture:clean(least, known)
  if self.missing then return getfenv(2).pending(self.missing) end -- busted has it in the test alone
  local result = self:stop()
  for name, n in pairs(result.by) do
    assert(n >= (least or 1), ("tshark saw %d packets of %s, expected %d at least"):format(n, name, least or 1))
  end
  for i = #result.malformed, 1, -1 do
    if known and result.malformed[i]:find(known) then table.remove(result.malformed, i) end
  end
  assert(#result.malformed == 0, table.concat(result.malformed, "\n"))
  return result
end

--- That port speaks "mqtt", "http" … as start() has it.
function Capture:speaks(port, name)
  local how = assert(spoken[name], "a port speaks mqtt, http, http2, websocket, coap, dtls or tls, not " .. tostring(name))
  self.counts[how.counts] = true
  self.ports[#self.ports + 1] = port
  for _, rule in ipairs(how.rules) do self.rules[#self.rules + 1] = rule:format(port) end
end

local by_scheme = { mqtt = "mqtt", ws = "websocket", http = "http", coap = "coap", ["coap+tcp"] = "coap", coaps = "dtls" }

--- The ports of the embedded targets, as iotix-run prints their URLs; returns how many.
function Capture:embedded(text)
  local n, seen = 0, {}
  for scheme, port in text:gmatch("(%l[%l+]*)://127%.0%.0%.1:(%d+)") do
    if not seen[scheme .. port] then
      seen[scheme .. port] = true
      self:speaks(tonumber(port), by_scheme[scheme] or "tls")
      n = n + 1
    end
  end
  return n
end

--- Records the loopback ports, without any: all of them: { [PORT] = "mqtt", "http", "http2", "websocket", "coap", "dtls" or "tls" }. proc.cleanup ends it too.
function M.start(ports)
  local self = setmetatable({ rules = {}, counts = {}, ports = {}, missing = missing() }, Capture)
  local filter = { ports and nil or "tcp or udp" }
  for port, name in pairs(ports or {}) do
    filter[#filter + 1] = "port " .. port
    self:speaks(port, name)
  end
  if self.missing then return self end
  self.path, self.marker = proc.dir() .. "/wire.pcapng", proc.port()
  filter[#filter + 1] = "udp dst port " .. self.marker
  self.process = proc.start(proc.command { "dumpcap", "-q", "-i", "lo", "-B", "32", "-f", table.concat(filter, " or "), "-w", self.path,
    "-a", "duration:" .. 120 * proc.patience })
  if not proc.wait(10, function() return self.process.err():find("File: ", 1, true) or self.process.code() end) or self.process.code() then
    assert(not proc.ci, "dumpcap cannot record: " .. self.process.err())
    self.missing = "dumpcap may not record"
  end
  return self
end

return M
