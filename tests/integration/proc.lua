-- Processes for specs: run a command to its end, run one in the background, wait for conditions with deadlines.
local ffi = require "ffi"

ffi.cdef [[
int poll(void *fds, unsigned long n, int timeout_ms);
int kill(int pid, int sig);
struct iotix_timespec { long sec; long nsec; };
int clock_gettime(int clock, struct iotix_timespec *ts);
]]

local M = {}

M.program = os.getenv("IOTIX_RUN") or "build/release/bin/iotix-run"
M.root = os.getenv("IOTIX_ROOT") or "."
M.ci = os.getenv("CI") == "true"
-- Sanitizer builds are slower; their deadlines are longer.
M.patience = M.program:find("asan") and 4 or 1

function M.now()
  local ts = ffi.new("struct iotix_timespec")
  ffi.C.clock_gettime(1, ts)
  return tonumber(ts.sec) + tonumber(ts.nsec) / 1e9
end

local function pause(ms) ffi.C.poll(nil, 0, ms) end

--- Waits until condition() is true (returned) or the deadline in seconds passes (nil).
function M.wait(seconds, condition)
  local deadline = M.now() + seconds * M.patience
  repeat
    local value = condition()
    if value then return value end
    pause(20)
  until M.now() > deadline
  return condition()
end

function M.read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read("*a")
  f:close()
  return text
end

function M.write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  return path
end

local dirs = {}
--- A temporary directory; M.cleanup removes it.
function M.dir()
  local p = io.popen("mktemp -d")
  local dir = p:read("*l")
  p:close()
  dirs[#dirs + 1] = dir
  return dir
end

local function quote(s) return "'" .. tostring(s):gsub("'", "'\\''") .. "'" end
M.quote = quote

function M.command(args)
  local words = {}
  for i, a in ipairs(args) do words[i] = quote(a) end
  return table.concat(words, " ")
end

--- Runs a shell line to its end: { code, out, err, seconds }. Killed (code 137) after `limit` seconds.
function M.shell(line, limit)
  local dir = M.dir()
  local started = M.now()
  local status = os.execute(string.format("timeout -k 1 %d sh -c %s >%s/out 2>%s/err </dev/null", (limit or 30) * M.patience,
    quote(line), dir, dir))
  local code = status == true and 0 or (type(status) == "number" and (status > 255 and math.floor(status / 256) or status) or 1)
  return { code = code, out = M.read(dir .. "/out"), err = M.read(dir .. "/err"), seconds = M.now() - started }
end

local tags = 0
--- A word that marks the processes of one run.
function M.tag()
  tags = tags + 1
  return "spec" .. tags .. "-" .. math.floor(M.now() * 1000)
end

--- Pids and names of processes that carry the tag: those of the run, its children and its broker.
function M.tagged(tag)
  return M.shell("grep -lz 'SPEC_TAG=" .. tag .. "$' /proc/[0-9]*/environ 2>/dev/null | grep -v '/proc/self/'").out
end

--- iotix-run with these arguments; tag: marks all its processes in their environment.
function M.run(args, limit, tag)
  local list = { M.program }
  for _, a in ipairs(args) do list[#list + 1] = a end
  return M.shell((tag and "SPEC_TAG=" .. tag .. " exec " or "") .. M.command(list), limit)
end

local started = {}
--- Starts a shell line in the background: { pid, dir, out(), err(), alive(), signal(n), wait(seconds) → code or nil }.
function M.start(line)
  local dir = M.dir()
  local p = io.popen(string.format("sh -c %s >/dev/null 2>&1 & echo $!",
    quote(string.format("{ exec 3>%s/pid; sh -c 'echo $$ >&3; exec 3>&-; exec \"$@\"' sh %s; } >%s/out 2>%s/err </dev/null; echo $? >%s/code",
      dir, line, dir, dir, dir))))
  p:read("*a")
  p:close()
  local pid = tonumber(M.wait(5, function()
    local text = M.read(dir .. "/pid")
    return text and text:match("%d+")
  end))
  local self = { pid = pid, dir = dir }
  function self.out() return M.read(dir .. "/out") or "" end
  function self.err() return M.read(dir .. "/err") or "" end
  function self.signal(n) return ffi.C.kill(pid, n) end
  function self.code() return tonumber((M.read(dir .. "/code") or ""):match("%d+")) end
  function self.wait(seconds) return M.wait(seconds, self.code) end
  started[#started + 1] = self
  return self
end

--- Pids of all descendants of a process.
function M.descendants(pid)
  local list = {}
  local function walk(parent)
    local text = M.read(string.format("/proc/%d/task/%d/children", parent, parent)) or ""
    for child in text:gmatch("%d+") do
      list[#list + 1] = tonumber(child)
      walk(tonumber(child))
    end
  end
  walk(pid)
  return list
end

function M.exists(pid)
  local stat = M.read("/proc/" .. pid .. "/stat")
  return stat ~= nil and not stat:find("%) Z ")
end

--- A free loopback port.
function M.port()
  local p = io.popen("python3 -c 'import socket; s=socket.socket(); s.bind((\"127.0.0.1\",0)); print(s.getsockname()[1])'")
  local port = tonumber(p:read("*l"))
  p:close()
  return port
end

--- A private mosquitto: { url, port, signal, … }. nil when there is none on this machine.
function M.mosquitto(extra)
  local probe = io.popen("PATH=$PATH:/usr/sbin command -v mosquitto")
  local path = probe:read("*l")
  probe:close()
  if not path then
    assert(not M.ci, "mosquitto is missing")
    return nil
  end
  local port, dir = M.port(), M.dir()
  local user = io.popen("id -un"):read("*l")
  M.write(dir .. "/conf", string.format("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser %s\n%s\n", port, user, extra or ""))
  local line = M.command { path, "-c", dir .. "/conf" }
  local p = M.start(line)
  p.port, p.url, p.line = port, "mqtt://127.0.0.1:" .. port, line -- line: starts it again
  assert(M.wait(10, function() return os.execute(string.format("mosquitto_pub -p %d -t up -m x >/dev/null 2>&1", port)) == 0 end),
    "mosquitto does not answer")
  return p
end

--- Subscribes to a broker, and comes back when it hears: the process, whose out() has a line for each message, with
--- hears(pattern, seconds) → the captures, or an error that shows what was heard. format: mosquitto_sub's -F (default "%t %p").
function M.listen(broker, topic, format)
  local self = M.start(M.command { "mosquitto_sub", "-p", broker.port, "-q", "1", "-t", topic, "-t", "ready", "-F", format or "%t %p" })
  assert(M.wait(10, function()
    return M.shell("mosquitto_pub -p " .. broker.port .. " -t ready -m x").code == 0 and self.out():find("ready ", 1, true)
  end), "mosquitto_sub hears nothing")
  function self.hears(pattern, seconds)
    local found
    assert(M.wait(seconds or 10, function()
      found = { self.out():match(pattern) }
      return found[1]
    end), "nobody heard " .. pattern .. " in\n" .. self.out():sub(-2000))
    return unpack(found)
  end
  return self
end

--- Says something on a broker, QoS 1; more: arguments of mosquitto_pub ("-m", text).
function M.publish(broker, topic, ...)
  local r = M.shell(M.command { "mosquitto_pub", "-p", broker.port, "-q", "1", "-t", topic, ... })
  assert(r.code == 0, r.err)
end

--- A broker that misbehaves (tests/integration/hostile_broker.py).
function M.hostile(mode)
  local p = M.start(M.command { "python3", M.root .. "/tests/integration/hostile_broker.py", mode })
  p.port = tonumber(M.wait(10, function() return p.out():match("port (%d+)") end))
  p.url = "mqtt://127.0.0.1:" .. p.port
  return p
end

--- Ends what was started and removes what was made.
function M.cleanup()
  for _, p in ipairs(started) do
    if not p.code() and p.pid then
      for _, child in ipairs(M.descendants(p.pid)) do ffi.C.kill(child, 9) end
      p.signal(9)
    end
  end
  started = {}
  for _, dir in ipairs(dirs) do os.execute("rm -rf " .. quote(dir)) end
  dirs = {}
end

return M
