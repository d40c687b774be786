-- Twenty thermostats written as a state machine: states inside states, guards, times that differ from device to device, commands.
-- Each has a room that warms and cools, and loses its connection now and then.
-- Run it:     iotix-run scenarios/thermostat-fsm.lua
-- Draw it:    iotix-run check scenarios/thermostat-fsm.lua -p DOT=yes
local iotix, gen = require "iotix", require "iotix.gen"

local params = iotix.params {
  DEVICES = { type = "integer", default = 20, help = "number of thermostats" },
  DOT = { type = "boolean", default = false, help = "print the machine as Graphviz text" },
}

local function report(dev, room, event, machine)
  dev:publish("state", { state = machine:state(), target = room.target, why = event.name }, { retain = true })
end

local function too_cold(_, room) return room.temperature < room.target - 0.3 end
local function warm_enough(_, room) return room.temperature > room.target + 0.3 end

local thermostat = iotix.fsm {
  name = "thermostat",
  initial = "on",
  context = { temperature = 19, target = 20 },
  on = {
    ["command:setTarget"] = {
      { guard = function(_, _, event) return type(event.data.params.celsius) ~= "number" end,
        action = function() return nil, "celsius must be a number", "type", "celsius" end },
      { action = function(dev, room, event, machine)
        room.target = event.data.params.celsius
        report(dev, room, event, machine)
        return { target = room.target }
      end },
    },
  },
  states = {
    on = {
      initial = "idle",
      history = "deep",
      on = { ["command:off"] = "off", connect = report },
      states = {
        idle = {
          entry = report,
          on = { sample = { target = "heating", guard = too_cold } },
        },
        heating = {
          initial = "igniting",
          entry = report,
          exit = function(_, room) room.power = 0 end,
          on = { sample = { target = "idle", guard = warm_enough } },
          states = {
            igniting = { after = { ["200ms..800ms"] = "burning" } },
            burning = { entry = function(_, room) room.power = 1 end },
          },
        },
      },
    },
    off = { entry = report, on = { ["command:on"] = "on" } },
  },
}

if params.DOT then print(thermostat:dot()) end

local function room(dev)
  local draught = gen.normal { mean = 0.1, stddev = 0.05 }
  local machine = thermostat:start(dev)
  assert(machine:bind())
  assert(dev:connect())
  for n in dev:every("250ms", { jitter = "50ms" }) do
    local context = machine.context
    context.temperature = context.temperature + (context.power or 0) * 0.35 - draught()
    dev:publish("telemetry", { temperature = math.floor(context.temperature * 100 + 0.5) / 100, heating = machine:is("on.heating") })
    machine:send("sample")
    if n % 40 == 0 and dev.index % 5 == 0 then dev:fail("disconnect", { mode = "abrupt", duration = "1s" }) end
  end
end

local rooms = iotix.group {
  name = "rooms", count = params.DEVICES, qos = 1, behaviour = room,
  launch = { strategy = "linear", rate = 40 },
}

return iotix.scenario {
  name = "thermostat-fsm",
  duration = "15s",
  broker = iotix.env("BROKER", "embedded"),
  groups = { rooms },
  test = function(run)
    local group = run:group("rooms")
    group:wait("online", params.DEVICES, "10s")
    iotix.expect.message {
      label = "a cold room is heated", topic = "rooms/+/telemetry", within = "10s",
      where = function(m) return m.json and m.json.heating == true end,
    }
    iotix.expect.message {
      label = "room 3 takes a new target", topic = group:topic(3, "response"), within = "5s",
      trigger = function() group:command(3, "setTarget", { celsius = 23 }, "t") end,
      where = function(m) return m.json and m.json.id == "t" and m.json.target == 23 end,
    }
    iotix.expect.message {
      label = "what is no number is refused", topic = group:topic(3, "response"), within = "5s",
      trigger = function() group:command(3, "setTarget", { celsius = "warm" }, "u") end,
      where = function(m) return m.json and m.json.code == "type" and m.json.parameter == "celsius" end,
    }
    iotix.expect.message {
      label = "switched off it says so", topic = group:topic(4, "state"), within = "5s",
      trigger = function() group:command(4, "off") end,
      where = function(m) return m.json and m.json.state == "off" end,
    }
  end,
}
