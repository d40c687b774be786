-- Servers that others wrote, each started on loopback: peers.NAME() → { url, port, …proc } or nil when it is not on this
-- machine (an error when CI=true). proc.cleanup ends them.
local proc = require "integration.proc"

local M = {}

local built = proc.root .. "/build/peers/"

local function missing(what)
  assert(not proc.ci, what .. " is missing: tests/integration/peers/install.sh, deploy/packages.sh")
  return nil
end

local function program(name, ...)
  for _, path in ipairs { ... } do
    if io.open(path) then return path end
  end
  return missing(name)
end

-- Sends a CONNECT of 3.1.1 by mosquitto_pub until one is accepted.
local function answers(p, port, seconds)
  p.port, p.url = port, "mqtt://127.0.0.1:" .. port
  assert(proc.wait(seconds, function()
    return proc.shell(string.format("mosquitto_pub -p %d -i probe -t up -m x", port), 5).code == 0
  end), "the broker does not answer: " .. p.out():sub(-500) .. p.err():sub(-500))
  return p
end

local function announced(p, seconds)
  return assert(tonumber(proc.wait(seconds, function() return p.out():match("address [%d.]+:(%d+)") end)),
    "no address: " .. p.out() .. p.err())
end

M.mosquitto = proc.mosquitto

function M.aedes()
  if not io.open(built .. "aedes/.made-of") then return missing "aedes (npm)" end
  local p = proc.start(proc.command { "node", built .. "aedes/broker.mjs" })
  return answers(p, announced(p, 10), 10)
end

function M.mochi()
  if not io.open(built .. "mochi/.made-of") then return missing "mochi-mqtt (Go)" end
  local p = proc.start(proc.command { built .. "mochi/broker" })
  return answers(p, announced(p, 10), 10)
end

function M.nats()
  local path = program("nats-server", "/usr/sbin/nats-server", "/usr/bin/nats-server")
  if not path then return nil end
  local dir, port = proc.dir(), proc.port()
  proc.write(dir .. "/conf", string.format(
    'listen: "127.0.0.1:-1"\nserver_name: iotix\njetstream { store_dir: "%s/js" }\nmqtt { listen: "127.0.0.1:%d" }\n', dir, port))
  return answers(proc.start(proc.command { path, "-c", dir .. "/conf" }), port, 10)
end

-- A Java program of build/peers/NAME; one thread's compiler and collector, as two cores are all there is.
local function java(name, class, ...)
  local dir = built .. name
  return proc.start(proc.command { "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.io.tmpdir=" .. proc.dir(), "-cp",
    dir .. "/classes:" .. dir .. "/lib/*", class, ... })
end

local function jvm_broker(name, title)
  return function()
    if not io.open(built .. name .. "/.made-of") then return missing(title .. " (Maven)") end
    local port = proc.port()
    return answers(java(name, "Broker", port, proc.dir()), port, 30)
  end
end

M.artemis = jvm_broker("artemis", "ActiveMQ Artemis")
M.hivemq = jvm_broker("hivemq", "HiveMQ CE")

--- Californium's Server or Client (peers/californium) with these arguments; without any: whether it is here.
function M.californium(class, ...)
  if not io.open(built .. "californium/.made-of") then return missing "Californium (Maven)" end
  return class and java("californium", class, ...) or true
end

--- RabbitMQ with its MQTT plugin, everything of it in a directory of its own, Erlang's port mapper too.
function M.rabbitmq()
  local path = program("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
  if not path then return nil end
  local dir, port, epmd, dist = proc.dir(), proc.port(), proc.port(), proc.port()
  proc.write(dir .. "/plugins", "[rabbitmq_mqtt].\n")
  proc.write(dir .. "/rabbitmq.conf", string.format(
    "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:%d\nmqtt.allow_anonymous = true\nlog.console = true\nlog.console.level = warning\n",
    port))
  local environment = { "HOME=" .. dir, "RABBITMQ_NODENAME=iotix" .. port .. "@localhost", "RABBITMQ_CONFIG_FILE=" .. dir .. "/rabbitmq",
    "RABBITMQ_ENABLED_PLUGINS_FILE=" .. dir .. "/plugins", "RABBITMQ_MNESIA_BASE=" .. dir, "RABBITMQ_LOG_BASE=" .. dir,
    "RABBITMQ_PID_FILE=" .. dir .. "/pid", "ERL_EPMD_PORT=" .. epmd, "ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_DIST_PORT=" .. dist }
  local p = proc.start(proc.command { "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", unpack(environment) } .. " " .. path)
  function p.after() -- the port mapper is a daemon, and does not end before its last node
    for _, child in ipairs(proc.descendants(p.pid)) do os.execute("kill -9 " .. child .. " 2>/dev/null") end
    proc.wait(5, function() return os.execute("ERL_EPMD_PORT=" .. epmd .. " epmd -kill >/dev/null 2>&1") == 0 end)
  end
  return answers(p, port, 60)
end

return M
