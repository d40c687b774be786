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

---Expectations of a test, setup or teardown. A failed one is recorded with what came closest and ends the function that expected it
---(exit code 110). `iotix.expect(value, label?)` gives .at_least(n) .at_most(n) .above(n) .below(n) .between(a, b) .equals(v) .one_of(list)
---.truthy() .matches(p). docs/how-to/write-a-test.md shows all.
---@class iotix.expect
local expect = {}

---Waits for messages on the broker through the observer. `trigger` is called once the observer is subscribed, so that nothing can
---be missed; `where` picks the message. Returns the message, or with count the list.
---@param o iotix.ExpectMessage
---@return iotix.Message|iotix.Message[]
function expect.message(o) end

---No message that matches comes within the window.
---@param o iotix.ExpectTopic
---@return boolean
function expect.no_message(o) end

---So many messages that match come within the window; with at_least alone it is over as soon as they have.
---@param o iotix.ExpectCount
---@return integer count
function expect.count(o) end

---The member `path` of every message that matches is in range, for all of the window.
---@param o iotix.ExpectValue
---@return boolean
function expect.value(o) end

---Messages of one device come in the order of the topics. One that comes too early fails it; it is met when `devices` have said
---something on the last topic.
---@param o iotix.ExpectOrder
---@return boolean
function expect.order(o) end

---So many devices of a group are in a state: once within the window, or with always = true for all of it.
---@param o iotix.ExpectState
---@return boolean
function expect.state(o) end

---The function returns true once within the window. What else it returns is told when it does not.
---@param o iotix.ExpectCondition
---@return boolean
function expect.eventually(o) end

---The function returns true each time it is asked, for all of the window.
---@param o iotix.ExpectCondition
---@return boolean
function expect.always(o) end

---The function does not return true within the window.
---@param o iotix.ExpectCondition
---@return boolean
function expect.never(o) end

---Runs functions at the same time, each in a task of its own; all their expectations have to be met.
---@param functions function[] at most 32
---@return boolean
function expect.all(functions) end

---Runs functions at the same time until all expectations of one are met; the others are cut off. One check: `label`.
---@param functions function[] at most 32
---@return integer number of the function
function expect.any(functions) end

---@class iotix.ExpectTopic
---@field topic string topic filter
---@field within? duration (default "5s")
---@field where? fun(m: iotix.Message)|table<string, any> a function (what it returns second says why not), or members of the JSON payload and what they are: a value, or iotix.ExpectConditions; "a.b" is b of a
---@field trigger? function called once the observer is subscribed
---@field qos? integer (default 1)
---@field label? string name of the check
---@field broker? string URL of another broker

---@class iotix.ExpectMessage: iotix.ExpectTopic
---@field count? integer so many of them (default 1)

---@class iotix.ExpectCount: iotix.ExpectTopic
---@field at_least? integer
---@field at_most? integer
---@field equals? integer

---@class iotix.ExpectConditions
---@field min? number
---@field max? number
---@field above? number
---@field below? number
---@field equals? string|number|boolean
---@field is_not? string|number|boolean
---@field one_of? any[]
---@field matches? string Lua pattern
---@field exists? boolean

---Beside these the conditions of iotix.ExpectConditions.
---@class iotix.ExpectValue: iotix.ExpectTopic
---@field path string member of the JSON payload
---@field at_least? integer so many values have to come (default 1)

---@class iotix.ExpectOrder
---@field topics string[] topic filters
---@field devices? integer (default 1)
---@field key? fun(m: iotix.Message): any whose message it is (default: the level of the topic that the first + stands for)
---@field within? duration (default "5s")
---@field trigger? function
---@field label? string

---@class iotix.ExpectState
---@field group string
---@field state? string as of group:count (default "online")
---@field at_least? integer
---@field at_most? integer
---@field equals? integer
---@field always? boolean (default false)
---@field within? duration (default "5s")
---@field label? string

---@class iotix.ExpectCondition
---@field [1] fun(): boolean, any
---@field within? duration (default "5s")
---@field every? duration between two times it is asked (default "100ms")
---@field label? string
