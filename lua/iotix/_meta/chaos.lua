---@meta iotix
-- What goes wrong on purpose. See iotix.lua.

---Experiments for a scenario's `timeline` and for `run:chaos`; docs/reference/chaos.md says what each of them does. They are plain
---data: nothing happens before the run is on.
---@class iotix.chaos
local chaos = {}

---A bad network for devices: the name of a profile ("lte", "depot@2"), a profile, or a fault such as
---{ latency = "200ms", loss = "5%" }. Keys of a fault among the options replace those of the profile; `false` takes one out.
---@param what string|iotix.ChaosProfile|table
---@param options? iotix.ChaosOptions
---@return iotix.Experiment
function chaos.link(what, options) end

---Devices that reach nobody, or not everybody: { direction =, hosts =, ports =, protocols =, allow = } and the options of all.
---@param options? iotix.ChaosOptions
---@return iotix.Experiment
function chaos.partition(options) end

---Devices that drop out, and may come back: { strategy =, delay =, max_delay =, duration =, base =, mode =, reconnect =,
---reconnect_delay =, jitter = } as in a group's dropout, and the options of all but `devices`.
---@param options? iotix.ChaosOptions
---@return iotix.Experiment
function chaos.disconnect(options) end

---The same as disconnect.
---@param options? iotix.ChaosOptions
---@return iotix.Experiment
function chaos.dropout(options) end

---All are cut at `from` and come back at once, or spread over { jitter = } after { reconnect_delay = }.
---@param options? iotix.ChaosOptions
---@return iotix.Experiment
function chaos.storm(options) end

---The embedded broker is stopped, killed or paused from `from` to `to`.
---@param action "stop"|"kill"|"pause"
---@param options? { from?: duration, to?: duration, every?: duration, name?: string }
---@return iotix.Experiment
function chaos.broker(action, options) end

---Clocks of devices that are wrong: { offset = "-5m", drift = "200ppm" } (drift: seconds a second, or ppm).
---@param options iotix.ChaosOptions
---@return iotix.Experiment
function chaos.clock(options) end

---A function that runs at `from`, in a task beside the devices. What it begins with run:chaos and group:link is healed when it
---returns; at `to` it is cancelled. An error fails the experiment.
---@param fn fun(run: iotix.Run)
---@param options? { from?: duration, to?: duration, every?: duration, name?: string }
---@return iotix.Experiment
function chaos.custom(fn, options) end

---A profile of your own: a name, what it is, where its figures are from, and the keys of a fault.
---@param profile { name: string, version?: integer, description?: string, source?: string, fault?: table }
---@return iotix.ChaosProfile
function chaos.profile(profile) end

---A profile of a JSON file beside the scenario, as `iotix-run chaos profiles NAME` prints one.
---@param file string
---@return iotix.ChaosProfile
function chaos.load(file) end

---All profiles, by name.
---@return { name: string, version: integer, description: string, source: string, fault: table }[]
function chaos.profiles() end

---A measured trace of a CSV file beside the scenario, for the key `trace` of a fault.
---@param file string
---@param options? { loop?: boolean }
---@return table
function chaos.trace(file, options) end

---@class iotix.ChaosOptions
---@field group? string one group; neither group nor groups: all
---@field groups? string[]
---@field fraction? number|string share of the devices: 0.2 or "20%"
---@field percentage? number the same, 20
---@field count? integer|string devices of each group
---@field devices? integer[] their indices
---@field from? duration when it begins, time of the run (default: at once)
---@field to? duration when it ends (default: with the run)
---@field every? duration the window begins again so much later, and again
---@field name? string (default: of the profile, or of the kind)
