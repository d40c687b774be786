---@meta iotix
-- What a test function works with. See iotix.lua.

---What `test` gets.
---@class iotix.Run
---@field name string
local run = {}

---Sleeps until that much of the run has passed.
---@param when duration
function run:at(when) end

---@param name string
---@return iotix.RunGroup
function run:group(name) end

---Begins an experiment of iotix.chaos: now, or at its `from` when that is to come. It heals at its `to`, by :stop, or with the run.
---@param what iotix.Experiment
---@return iotix.RunExperiment? experiment, string? message, code? code
function run:chaos(what) end

---All experiments of the run, those of the timeline too: { number, name, kind, groups, state, affected, … }.
---@return table[]? list, string? message, code? code
function run:experiments() end

---Publishes through the observer, a client that is no part of the simulation. A table goes out as JSON.
---@param topic string
---@param payload string|table
---@param options? { qos?: integer, retain?: boolean, broker?: string }
---@return boolean? ok, string? message, code? code
function run:publish(topic, payload, options) end

---Seconds since the run began.
---@return number
function run:elapsed() end

---@param level string
---@param text? string
function run:log(level, text) end

---Marks the run failed (exit code 110) and ends the test.
---@param reason? string
function run:fail(reason) end

---An experiment that run:chaos has begun: also .number, .name, .kind.
---@class iotix.RunExperiment
local experiment = {}

---Heals it now; a window that is to come does not.
---@return table? status, string? message, code? code
function experiment:stop() end

---How it stands: { state = "scheduled"|"running"|"healed"|"stopped"|"failed", affected =, runs =, … }.
---@return table? status, string? message, code? code
function experiment:status() end

---Another fault in its place, while it acts; of iotix.chaos.link and iotix.chaos.partition. As iotix.chaos.link, without options but
---the keys of a fault.
---@param what string|iotix.ChaosProfile|table
---@param options? table
---@return table? status, string? message, code? code
function experiment:change(what, options) end

---@class iotix.RunGroup
local group = {}

---How many devices are in that state, at most about 250 ms ago.
---@param state? "count"|"started"|"online"|"connecting"|"running"|"error"|"ever_online"|"stopped"|"created"|"dropped"|"failed"
---@return integer
function group:count(state) end

---Waits until at least n devices are in that state.
---@param state string
---@param n integer
---@param within? duration (default "30s")
---@return integer? count, string? message, code? code
function group:wait(state, n, within) end

---A bad network for devices of this group, as iotix.chaos.link.
---@param what string|iotix.ChaosProfile|table
---@param options? iotix.ChaosOptions
---@return iotix.RunExperiment? experiment, string? message, code? code
function group:link(what, options) end

---Cuts devices of this group off, as iotix.chaos.partition.
---@param options? iotix.ChaosOptions
---@return iotix.RunExperiment? experiment, string? message, code? code
function group:partition(options) end

---Ends the faults of the network that act now on this group and on no other, those of the timeline too.
---@return integer? healed, string? message, code? code
function group:heal() end

---The full topic of a device's channel, as `dev:topic` gives it.
---@param index integer
---@param channel string
---@return string
function group:topic(index, channel) end

---Sends a command to one device: { "command": name, "params": parameters, "id": id } on its command topic.
---@param index integer
---@param name string
---@param parameters? table
---@param id? any
---@return boolean? ok, string? message, code? code
function group:command(index, name, parameters, id) end

---Stops devices: `{ devices = { 1, 2 } }`, `{ count = n }`, `{ percentage = p }`, or all. Count and percentage go through the group's
---seeded order, the same in every call. Operations wait until every shard has answered.
---@param options? iotix.Selection
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:stop(options) end

---Starts those that do not run: not launched yet, stopped, or in error.
---@param options? iotix.Selection
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:start(options) end

---Stops devices if need be and starts them anew.
---@param options? iotix.Selection
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:restart(options) end

---Stops devices and forgets them.
---@param options? iotix.Selection
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:remove(options) end

---Devices 1 to n are there afterwards: new ones come by the group's launch plan, the highest ones go.
---@param n integer|string
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:scale(n) end

---Some devices lose their connection, from now on.
---@param options iotix.DropoutOptions without `at`
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:dropout(options) end

---The interval of one attribute of the group's model, or with nil of all.
---@param attribute? string
---@param interval duration whole milliseconds, at least 100
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:interval(attribute, interval) end

---The generator of one attribute of the group's model, written as in a model.
---@param attribute string
---@param generator table such as { type = "constant", value = 1 }
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:generator(attribute, generator) end

---The group's model and behaviour file as they are on disk now. What is broken is refused and the old goes on.
---@return boolean? ok, iotix.ChangeAnswer|string answer_or_message, code? code
function group:reload() end

---The group's numbers as its shards have them now.
---@return iotix.GroupStatus? status, string? message, code? code
function group:status() end

---@class iotix.Selection
---@field devices? integer[] indices
---@field count? integer|string
---@field percentage? number
---@field all? boolean (the default)
---@field mode? "graceful"|"abrupt" of stop (default "graceful")

---@class iotix.ChangeAnswer
---@field affected integer devices that were told
---@field groups? integer reload: groups for which something had changed

---@class iotix.GroupStatus
---@field count integer devices that are there
---@field online integer
---@field dropped integer away because of a dropout
---@field started integer
---@field ever_online integer
---@field failed integer in error for good
---@field created integer
---@field starting integer
---@field running integer
---@field stopping integer
---@field stopped integer
---@field error integer
---@field disconnected integer
---@field connecting integer
---@field connected integer
---@field reconnecting integer

---Expectations of a test. A failed one is recorded with what was seen instead and ends the test (exit code 110).
---`iotix.expect(value, label?)` gives .at_least(n) .at_most(n) .above(n) .below(n) .between(a, b) .equals(v) .truthy() .matches(p).
---@class iotix.expect
local expect = {}

---Waits for messages on the broker through the observer. `trigger` is called once the observer is subscribed, so that nothing can
---be missed; `where` picks the message.
---@param o { topic: string, within?: duration, where?: fun(m: iotix.Message): boolean, trigger?: function, count?: integer, qos?: integer, label?: string, broker?: string }
---@return iotix.Message|iotix.Message[]
function expect.message(o) end
