---@meta iotix
-- The public library as annotations (LuaCATS): for editors, and the source of docs/reference/scenario-api.md.
-- Durations are strings with a unit ("250us", "500ms", "5s", "2m", "1h", "1m30s") or numbers of seconds.
-- Failures of the world return `nil, message, code`; mistakes of the author raise, at the author's line.

---@class iotix
---@field version string version of iotix
---@field args string[] what stands behind `--` on the command line; a list of its own for every process
---@field gen iotix.gen
---@field json iotix.json
---@field payload iotix.payload
---@field expect iotix.expect
---@field behaviour iotix.behaviour
local iotix = {}

---@alias duration string|number a duration: "500ms", "5s", "2m"; a number is seconds
---@alias code "invalid"|"not_found"|"limit"|"no_memory"|"io"|"resolve"|"refused"|"closed"|"timeout"|"protocol"|"state"|"cancelled"|"unsupported" why the world failed

---Declares a group of devices of one kind. Give it a model, a behaviour, or both. A model alone drives its devices without a
---coroutine: connect, then telemetry as the model says. With a behaviour the behaviour connects and publishes; it may start the
---model's telemetry with `dev:telemetry()`.
---@param group iotix.GroupOptions
---@return iotix.Group
function iotix.group(group) end

---@class iotix.GroupOptions
---@field name string letters, digits, - _ . ; starts with a letter; at most 64
---@field count? integer|string number of devices, 1 to 10,000,000; "10k" works (default 1, with launch stages their largest target)
---@field model? string name of a model ("temperature-sensor"), with a version ("valve@1.2"), or a path beside the scenario
---@field behaviour? (fun(dev: iotix.Device))|string runs as a coroutine of its own for every device; a string is a file beside the scenario that returns the function ("valve.lua"), which can be reloaded
---@field launch? iotix.LaunchOptions when the devices start (default all at once)
---@field dropout? iotix.DropoutOptions|iotix.DropoutOptions[] when some of them lose their connection
---@field proxies? iotix.ProxyOptions[]|iotix.ProxyOptions which devices, the last ones, stand for physical ones; with this alone a group needs neither model nor behaviour
---@field connection? iotix.Connection what `iotix.mqtt` returns; default: the scenario's
---@field id? string pattern of device ids (default "${groupId}-${index}")
---@field topics? string pattern of the base below which relative topics hang (default "${groupId}/${deviceId}")
---@field qos? integer default QoS of this group's publishes (default: the model's, else 0)
---@field on_error? "stop"|"restart"|"fail" what an error of a behaviour means (default "stop": this device only)
---@field max_restarts? integer of one device with on_error = "restart" (default 10)
---@field memory? string|integer cap of a device's Lua memory (default "1MB", at least 16KB)
---@field tags? table<string,string> free tags
---@field handlers? table<string,function> what the model names as handlers; see iotix.HookContext
---@field data? iotix.Data what `iotix.data` returns: one row of a file for each device

---Which physical device a proxy stands for (docs/how-to/proxies.md). Texts are patterns that know `${proxyIndex}`, from 1 on, too.
---@class iotix.ProxyOptions
---@field topic string filter of what the physical device publishes: "plant/press/#"
---@field broker? string URL of its broker (default: the run's)
---@field commands? string topic to which commands for the proxy are passed on
---@field qos? integer of the subscription and of commands (default 0)
---@field id? string the device's id (default: the group's pattern)
---@field source? "mqtt"
---@field silent_after? duration counts as silent after so long without a message (default "60s")
---@field count? integer in one table in place of a list: how many devices it is for

---Opens a data file for a group: device 1 has its first row, device 2 the second one, and so on; too few rows for the group's devices
---are an error before the run starts. `${data.COLUMN}` stands for a field in the group's `id`, `topics`, `client_id`, `username`,
---`password` and will; a behaviour reads it as `dev.data.COLUMN`. The file lies beside the scenario and is mapped once, however many
---devices and shards read it: replace it by renaming a new one over it, do not write into it while a run is on.
---@param file iotix.DataOptions|string
---@return iotix.Data
function iotix.data(file) end

---@class iotix.DataOptions
---@field [1] string path beside the scenario: .csv, .tsv, .ndjson, .jsonl or .json
---@field format? "csv"|"ndjson"|"json" when the name of the file does not tell it
---@field delimiter? string CSV: one character (default: found out among comma, semicolon and tab)
---@field header? boolean CSV: whether the first row names the columns (default: yes, unless it is all numbers); without one they are "1", "2" …
---@field numbers? boolean CSV: `dev.data` has numbers and booleans where a field reads as one (default false: texts as they are written, so that 007 stays 007)

---@class iotix.Data
---@field path string
---@field rows integer without the header
---@field columns string[] names, in the order of the file; of JSON: the keys of the first row

---@class iotix.LaunchOptions
---@field strategy "immediate"|"linear"|"batch"|"exponential"|"ramp"|"stages"|"poisson"
---@field rate? number linear, poisson: devices a second
---@field delay? duration linear: between devices; batch: between batches; exponential: the first delay
---@field batch_size? integer batch: devices a batch
---@field max_delay? duration exponential: longest delay
---@field base? number exponential: growth of the delay
---@field over? duration ramp: when the last one starts; the rate rises linearly from 0
---@field stages? iotix.Stage[] stages: how many devices are up, at most 32

---@class iotix.Stage
---@field duration duration how long the stage lasts
---@field target integer devices that are up at its end; in between their number changes linearly

---@class iotix.DropoutOptions
---@field at? duration when it begins, from the start of the run (in a scenario; group:dropout begins at once)
---@field count? integer|string devices, drawn from the seed; or percentage
---@field percentage? number of the group's devices
---@field strategy? "immediate"|"linear"|"exponential"|"random" (default "immediate")
---@field delay? duration linear: between two devices; exponential: the first gap (default "1s")
---@field duration? duration random: all within this time (default "60s"); linear: evenly over it
---@field base? number exponential: growth of the gap (default 1.5)
---@field max_delay? duration exponential: longest gap (default "60s")
---@field mode? "abrupt"|"graceful" (default "abrupt": the broker publishes the will)
---@field reconnect? boolean whether they come back (default false)
---@field reconnect_delay? duration how long each stays away
---@field jitter? duration and up to this much longer

---Declares the scenario; the file returns it. Loading runs nothing. Without `duration` the run ends when `test` ends.
---@param scenario iotix.ScenarioOptions
---@return iotix.Scenario
function iotix.scenario(scenario) end

---@class iotix.ScenarioOptions
---@field name string
---@field description? string
---@field groups iotix.Group[]
---@field duration? duration how long the run lasts
---@field broker? string "embedded" (a private mosquitto, the default) or a URL such as "mqtt://host:1883"
---@field connection? iotix.Connection for every group without one of its own
---@field thresholds? table<string, string|iotix.Threshold|table> limits by metric: { publish_latency = "p95 < 200ms" }
---@field test? fun(run: iotix.Run) runs beside the devices, in a process of its own
---@field seed? integer seed of all randomness (default: random, printed in the summary)
---@field stop_timeout? duration how long the end may take to drain (default "30s")
---@field on_shard_lost? "restart"|"fail" what a shard that was killed means (default "restart")
---@field options? table defaults for flags of iotix-run: shards, progress, summary, log_level …

---@class iotix.Threshold
---@field [1] string aggregate, comparison, limit: "p99 < 2s", "rate < 1%", "count > 1000"
---@field abort? boolean end the run when it fails
---@field delay_abort? duration not before that much of the run has passed
---@field no_data? "fail"|"pass" what no samples mean (default "fail")

---A value of the environment: `-e NAME=value` first, then the process environment, then the default.
---@param name string
---@param default? string
---@return string?
function iotix.env(name, default) end

---Declares typed parameters, set with `-p NAME=value`; returns their values. `iotix-run SCENARIO --help` lists them.
---@param declarations table<string, iotix.Param|string|number|boolean>
---@return table<string, any>
function iotix.params(declarations) end

---@class iotix.Param
---@field type? "string"|"number"|"integer"|"boolean"|"duration"|"url" (default "string")
---@field default? any
---@field help? string
---@field required? boolean

---How devices connect over MQTT.
---@param connection iotix.MqttOptions
---@return iotix.Connection
function iotix.mqtt(connection) end

---@class iotix.MqttOptions
---@field broker? string URL; default: the scenario's
---@field version? "3.1.1" this release speaks 3.1.1
---@field client_id? string pattern (default: the model's clientIdPattern, else "${deviceId}")
---@field username? string pattern
---@field password? string pattern
---@field keep_alive? duration whole seconds (default "60s")
---@field clean_session? boolean (default true)
---@field connect_timeout? duration from connect to CONNACK (default "10s")
---@field connect_window? integer handshakes under way at once in a shard (default 64)
---@field reconnect? boolean|table { initial = "1s", max = "60s", factor = 2, jitter = true, attempts = 0 }
---@field inflight? integer QoS 1 and 2 messages without an answer, per device (default 20)
---@field queue? table { max = 100, bytes = "256KB", full = "reject" | "drop_oldest" }: messages that wait, per device
---@field will? table { topic =, payload =, qos =, retain = }; topic and payload are patterns
---@field max_packet? string|integer largest packet accepted (default "1MB")
---@field source? string source address to bind

---Defines a state machine; docs/reference/behaviours.md has the rules. It is checked as a whole, at the line of the call; states that
---nothing leads to are a warning.
---@param definition iotix.FsmOptions
---@return iotix.Fsm
function iotix.fsm(definition) end

---Sleeps; other tasks go on.
---@param time duration
function iotix.sleep(time) end

---Starts a task beside this one, of the same device. It ends with the device. At most 64 a device. In `test` an error of such a
---task fails the run as one of the test itself does.
---@param fn function
---@param ... any its arguments
---@return iotix.Task? task, string? message, code? code
function iotix.spawn(fn, ...) end

---Seconds since 1970 (UTC), with microseconds.
---@return number
function iotix.now() end

---Seconds since the run began.
---@return number
function iotix.elapsed() end

---One line into the log; `iotix.log("text")` or `iotix.log("warn", "text")`. At most 100 lines a second and device, however they
---are written: what is more is dropped, and a line says so.
---@param level "error"|"warn"|"info"|"debug"|string
---@param text? string
function iotix.log(level, text) end

---Ends the test and the run at once: exit code 108. In `test` and the tasks it spawned only.
---@param reason? string
function iotix.abort(reason) end

---A device, as its behaviour sees it. A topic without "/" hangs below the group's base: in group "sensors" device 17 publishes
---"telemetry" to `sensors/sensors-17/telemetry`. A topic with "/" is taken as it is; a leading "/" is cut.
---Its methods work in tasks of that very device: devices reach each other through the broker.
---@class iotix.Device
---@field id string "sensors-17"
---@field index integer 1 for the group's first device, over all shards
---@field group string name of the group
---@field state "created"|"starting"|"running"|"stopping"|"stopped"|"error"
---@field connection "disconnected"|"connecting"|"connected"|"reconnecting"
---@field data? table<string,any> its row of the group's data file; an empty field is nil, a column that is not there an error
local dev = {}

---Connects and waits until the broker accepts. Failed attempts are repeated with backoff unless `retry = false`. Once connected,
---a lost connection is re-established by itself, with its subscriptions.
---@param options? { timeout?: duration, retry?: boolean }
---@return boolean? ok, string? message, code? code
function dev:connect(options) end

---Closes the connection: "graceful" sends DISCONNECT, "abrupt" does not, so that the broker publishes the will.
---@param mode? "graceful"|"abrupt"
function dev:disconnect(mode) end

---Publishes. A table goes out as JSON (keys sorted), a string as it is. `true` means accepted: the message will be acknowledged,
---or dropped with a counted reason; with `wait = true` (QoS 1 and 2) it means acknowledged. Not connected: QoS 0 is refused,
---QoS 1 and 2 wait in the bounded queue while the connection is being re-established.
---@param topic string
---@param payload? string|table|number|boolean
---@param options? { qos?: integer, retain?: boolean, wait?: boolean }
---@return boolean? ok, string? message, code? code
function dev:publish(topic, payload, options) end

---Subscribes and waits for the broker's answer. Messages go to `fn` (a task each), to `dev:on("message")` and to `dev:wait`.
---With `fn` it is subscribed again when the device connects again after `dev:disconnect`.
---@param filter string
---@param options? { qos?: integer }
---@param fn? fun(message: iotix.Message)
---@return boolean? ok, integer|string granted_qos_or_message, code? code
function dev:subscribe(filter, options, fn) end

---@param filter string
---@return boolean? ok, string? message, code? code
function dev:unsubscribe(filter) end

---Calls `fn` in a task of its own whenever that happens; at most 256 handlers a device. "command" subscribes, now or as soon as the
---device connects, the device's `command` topic; what the handler
---returns is published to `response` (a handler that raises answers { ok = false, error = … }). Of a device whose model has commands
---it gets those that no handler of the model carries out, parsed and checked (docs/reference/commands.md); the first function that was
---registered gives the answer: its result, or nil and what went wrong.
---@param event "command"|"message"|"connect"|"disconnect"
---@param fn fun(subject?: iotix.Command|iotix.Message): any
---@return boolean? ok, string? message, code? code
function dev:on(event, fn) end

---Waits for the next message, connect or disconnect.
---@param event "message"|"connect"|"disconnect"
---@param timeout? duration (default: for ever)
---@return iotix.Message|boolean|nil subject, string? message, code? code
function dev:wait(event, timeout) end

---An iterator that ticks: `for n in dev:every("5s", { jitter = "500ms" }) do … end`. Free of drift; ticks that were missed are
---skipped. What the generator itself is late counts in the metric tick_late. The first tick comes at a random (seeded) part of the interval, or after `phase`.
---@param interval duration at least 1ms
---@param options? { jitter?: duration, phase?: duration }
---@return fun(): integer
function dev:every(interval, options) end

---@param time duration
function dev:sleep(time) end

---Starts or stops the telemetry of the group's model, for groups that have a behaviour too.
---@param on? boolean (default true)
---@return boolean? ok, string? message, code? code
function dev:telemetry(on) end

---The full topic that `name` stands for.
---@param name string
---@return string
function dev:topic(name) end

---The children of a gateway (docs/how-to/gateways.md), in order; empty for other devices.
---@return { id: string, index: integer, model: string }[]
function dev:children() end

---A child of this gateway. Its handle publishes, through the gateway and as the gateway's model says (at once or in a batch), and has
---`id`, `state` and `connection`.
---@param id string|integer its id, or its number from 1 on
---@return iotix.Device? child, string? message, code? code
function dev:child(id) end

---`dev:log("text")` or `dev:log("warn", "text")`.
---@param level string
---@param text? string
function dev:log(level, text) end

---@class iotix.Message
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean
---@field json any the payload decoded when first asked for; false when it is not JSON

---What `dev:on("command", fn)` and a command's handler fn(cmd, dev) get.
---@class iotix.Command
---@field name string "" when the message named none
---@field params table of a model's command: checked, whole numbers of an integer parameter even when they were written 3.0
---@field id any
---@field topic string
---@field payload string
---@field json table

---What the handler of a generator, fn(ctx), and of an encoder, fn(values, ctx), gets: one table for each device and set of params, the
---same at every call. Such a handler answers at once: nothing in it may block. See docs/how-to/lua-hooks.md.
---@class iotix.HookContext
---@field id string of the device
---@field group string
---@field index integer of the device, from 1
---@field params table as the model has them, {} without any
---@field state table yours: it stays between calls, until the device stops
---@field time number seconds since the first value
---@field wall number seconds since 1970
---@field values? table latest values by the attribute's name, read-only; generators only, of models that keep them (a condition, a correlated attribute)

---@alias iotix.FailureKind "disconnect"|"errorPayload"|"slow"|"clockDrift"|"batteryDrain"|"reboot"|"staleToken"|"duplicateId"

---Makes a failure begin, one of each kind at a time; with a `duration` it is over by itself. docs/reference/behaviours.md has the kinds:
---what is a number of milliseconds in a model (`delayMs`) is a duration here (`delay`); `offset` may be a negative number of seconds.
---@param kind iotix.FailureKind
---@param options? { duration?: duration, mode?: string, delay?: duration, offset?: duration, ppm?: number, attribute?: string, per_second?: number, from?: number, reboot?: duration, boot?: duration, sequence?: any[], token?: string }
---@return boolean? ok, string? message, code? code
function dev:fail(kind, options) end

---Ends a failure now, or all of them: what was broken is mended, a device that is offline because of it connects.
---@param kind? iotix.FailureKind
---@return boolean? ok, string? message, code? code
function dev:heal(kind) end

---@class iotix.Task
local task = {}
---@return boolean was_alive
function task:cancel() end
---@return boolean
function task:alive() end

---What `fn(dev, context, event, machine)` of a machine gets as its event.
---@class iotix.FsmEvent
---@field name string the event's; "after:30s" of a timed transition, "start" of the initial entries
---@field data any what `machine:send` was given; of "command:NAME" the iotix.Command

---@alias iotix.FsmAction fun(dev: iotix.Device, context: table, event: iotix.FsmEvent, machine: iotix.Machine): any
---@alias iotix.FsmTransition string|iotix.FsmAction|{ target?: string, guard?: iotix.FsmAction, action?: iotix.FsmAction }

---@class iotix.FsmOptions
---@field initial string the state it begins in
---@field states table<string, iotix.FsmState>
---@field name? string for messages and the picture
---@field context? table copied for every machine; `machine.context`, and the second argument of every function
---@field on? table<string, iotix.FsmTransition|iotix.FsmTransition[]> in any state
---@field after? table<string|string[], iotix.FsmTransition|iotix.FsmTransition[]> since the start
---@field entry? iotix.FsmAction
---@field exit? iotix.FsmAction

---@class iotix.FsmState
---@field entry? iotix.FsmAction
---@field exit? iotix.FsmAction
---@field on? table<string, iotix.FsmTransition|iotix.FsmTransition[]> by event: "NAME", "command:NAME", "connect", "disconnect", "done:STATE"
---@field after? table<string|string[], iotix.FsmTransition|iotix.FsmTransition[]> by the time since its entry: "30s", or a seeded random time "10s..20s" or { "10s", "20s" }
---@field states? table<string, iotix.FsmState> states inside it
---@field initial? string which of them it begins in
---@field history? "shallow"|"deep" entered again, it goes on in the state inside it that was active last (deep: the innermost one)
---@field final? boolean nothing happens in it any more: the machine ends, or a parent hears "done:PARENT"

---A definition that `iotix.fsm` has checked.
---@class iotix.Fsm
---@field name? string
local fsm = {}

---Gives the device a machine of its own. Its initial entry actions run in a task of the device.
---@param dev iotix.Device
---@param context? table in place of a copy of the definition's
---@return iotix.Machine
function fsm:start(dev, context) end

---For `behaviour =`: connects, starts a machine, binds it.
---@return fun(dev: iotix.Device)
function fsm:behaviour() end

---The machine as Graphviz text.
---@return string
function fsm:dot() end

---A running state machine, of the device that started it. Its events are worked off one after the other, each to its end; an action may
---block, events queue meanwhile. An error of an action ends the machine and the behaviour, with the state and the event in its text.
---@class iotix.Machine
---@field context table
local machine = {}

---Queues an event, 1,000 at most. An event that no state of the machine knows raises; one that the current state does not know is nothing.
---@param event string
---@param data? any
---@return boolean? ok, string? message, code? code
function machine:send(event, data) end

---The innermost active state with those around it: "heating.ramping".
---@return string
function machine:state() end

---Whether that state, or one inside it, is active.
---@param state string
---@return boolean
function machine:is(state) end

---Whether one of these states is active.
---@param ... string
---@return boolean
function machine:matches(...) end

---Waits until the state is active; without a state, until the machine has ended.
---@param state? string
---@param timeout? duration (default: for ever)
---@return boolean? ok, string? message, code? code "closed": it has ended elsewhere
function machine:wait(state, timeout) end

---Makes commands of the device the events "command:NAME" and answers them with what the transition's action returns (nil, text, code,
---parameter: a refusal); the events "connect" and "disconnect" are its connection's.
---@param dev? iotix.Device
---@return boolean? ok, string? message, code? code
function machine:bind(dev) end

---Whether it has ended, and how.
---@return boolean ended, string? how
function machine:ended() end

---Ends it without exit actions; an action under way is dropped.
---@return boolean was_running
function machine:stop() end

---Behaviours from tables: each returns a function(dev) for `behaviour =`. Options are checked at the line of the call.
---docs/reference/behaviours.md describes them.
---@class iotix.behaviour
local behaviour = {}

---@alias iotix.Values table<string, any>|fun(dev: iotix.Device): table<string, any> generators (a copy for each device), functions fn(dev), constants

---Publishes a sample of its values every interval.
---@param o { interval: duration, values: iotix.Values, topic?: string, jitter?: duration, report?: "always"|"change"|{ deadband: number|table<string, number> }, qos?: integer, retain?: boolean, on_command?: fun(dev: iotix.Device, cmd: iotix.Command): any }
---@return fun(dev: iotix.Device)
function behaviour.sensor(o) end

---@class iotix.ActuatorParam
---@field type? "number"|"integer"|"string"|"boolean"|"object"|"array"
---@field required? boolean
---@field min? number
---@field max? number
---@field values? any[] what is allowed
---@field default? any

---Takes commands one after the other, checks their parameters, answers, and publishes its state.
---@param o { commands: table<string, { params?: table<string, iotix.ActuatorParam>, run: fun(dev: iotix.Device, state: table, params: table): any }>, state?: table, report?: "change"|"always", delay?: duration|duration[], topic?: string, qos?: integer, retain?: boolean }
---@return fun(dev: iotix.Device)
function behaviour.actuator(o) end

---Speaks for its children over its own connection.
---@param o { children: integer|table, values?: iotix.Values, interval?: duration, jitter?: duration, id?: string, topic?: string, qos?: integer, aggregate?: "forward"|"batch"|fun(dev: iotix.Device, messages: table[]): any, batch_interval?: duration, max_messages?: integer, on_command?: fun(dev: iotix.Device, child: table, cmd: iotix.Command): any }
---@return fun(dev: iotix.Device)
function behaviour.gateway(o) end

---Runs several behaviours in one device, each in a task of its own.
---@param ... fun(dev: iotix.Device)
---@return fun(dev: iotix.Device)
function behaviour.compose(...) end

---Value generators; a device may be the first to use 100 different specifications. Calling one draws the next value from the generator of the device that calls it, so that the same seed gives
---the same values on any number of shards. Keys, defaults and formulas: docs/reference/generators.md; every constructor also takes `anomalies`.
---@class iotix.gen
local gen = {}

---@alias iotix.anomaly { type: "spike"|"drift"|"stuck"|"dropout"|"noise", magnitude?: number, relative?: boolean, per_second?: number, stddev?: number, probability?: number, at?: duration, every?: duration, duration?: duration }

---@param o { min: number, max: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.uniform(o) end

---@param o { mean: number, stddev: number, min?: number, max?: number, anomalies?: iotix.anomaly[] } clamped to min and max
---@return fun(): number
function gen.normal(o) end

---@param o { mean?: number, rate?: number, min?: number, max?: number, anomalies?: iotix.anomaly[] } min is added, max clamps
---@return fun(): number
function gen.exponential(o) end

---mu and sigma of the logarithm, or mean and stddev of the values.
---@param o { mu?: number, sigma?: number, mean?: number, stddev?: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.lognormal(o) end

---Whole numbers: how many events fell into an interval.
---@param o { mean: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.poisson(o) end

---@param o { shape: number, scale: number, min?: number, max?: number, anomalies?: iotix.anomaly[] } min is added, max clamps
---@return fun(): number
function gen.weibull(o) end

---Random walk: every step is uniform in [-step, step], reflected at min and max.
---@param o { start?: number, step: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.walk(o) end

---Mean-reverting (Ornstein-Uhlenbeck), exact over the time that passed since the last value: reversion a second, volatility a square root of a second.
---@param o { mean: number, reversion: number, volatility: number, start?: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.ou(o) end

---mean + amplitude * sin(2 pi (t / period + phase)) + noise; t begins with the first call, as in all waves.
---@param o { amplitude: number, period: duration, mean?: number, phase?: number, noise?: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.sine(o) end

---Day and week by the clock on the wall; weekly: seven factors, Monday first.
---@param o { base: number, daily?: { amplitude: number, peak_hour?: number }, weekly?: number[], noise?: number, utc_offset_minutes?: number, min?: number, max?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.seasonal(o) end

---high during the first part (duty, 0.5) of every period, then low.
---@param o { low: number, high: number, period: duration, duty?: number, phase?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.square(o) end

---@param o { min: number, max: number, period: duration, phase?: number, falling?: boolean, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.saw(o) end

---@param o { min: number, max: number, period: duration, phase?: number, anomalies?: iotix.anomaly[] }
---@return fun(): number
function gen.triangle(o) end

---Each of the values for the time of hold, round and round.
---@param o { values: any[], hold: duration, anomalies?: iotix.anomaly[] }
---@return fun(): any
function gen.step(o) end

---start, start + step, … or the listed values one after another; pingpong turns round at both ends.
---@param o { start?: number, step?: number, min?: number, max?: number, wrap?: boolean, direction?: "up"|"down"|"pingpong", values?: any[], anomalies?: iotix.anomaly[] }
---@return fun(): any
function gen.sequence(o) end

---@param value any
---@return fun(): any
function gen.constant(value) end

---@param o { values: any[], weights?: number[], anomalies?: iotix.anomaly[] }
---@return fun(): any
function gen.choice(o) end

---A chain of states: transitions has a row of probabilities for each; start is the number of the first, from 0.
---@param o { states: any[], transitions: number[][], start?: number, anomalies?: iotix.anomaly[] }
---@return fun(): any
function gen.markov(o) end

---A position moving along a route of { lat, lon, alt? }: a table with lat, lon, alt, speed (km/h) and heading (degrees).
---@param o { route: number[][], speed_kmh: number, loop?: boolean|"pingpong", noise_meters?: number, offset?: "none"|"random"|"index", anomalies?: iotix.anomaly[] }
---@return fun(): table
function gen.gps(o) end

---@class iotix.json
---@field null any encodes as null, and is what null decodes to
local json = {}
---Keys are sorted, an empty table is `{}`, NaN and infinities are null, invalid UTF-8 becomes U+FFFD. Lists with holes, tables with
---both list items and named keys, functions, more than 32 levels or 1,024 keys have no JSON form: nil and why.
---@param value any
---@return string? text, string? message
function json.encode(value) end
---@param text string at most 1 MB
---@return any value, string? message
function json.decode(text) end

---Payloads other than JSON; docs/reference/payloads.md has the formats. What is made is at most 1 MB. What cannot be said in a
---format is nil, message, code; wrong arguments raise.
---@class iotix.payload
local payload = {}

---Marks a string as bytes: a byte string in CBOR, base64 in text, Bytes in Sparkplug. `tostring` gives the string back.
---@param s string
---@return iotix.Bytes
function payload.bytes(s) end

---Marks a whole number, which Lua has no type for: `42i` in InfluxDB, Int64 in Sparkplug. Digits as a string keep all 64 bits.
---@param v integer|string
---@return iotix.Integer
function payload.integer(v) end

---CBOR in its deterministic form (RFC 8949, 4.2.1). The rules for tables are those of `iotix.json`: 1..n is an array, an empty
---table a map; at most 32 levels and 1,024 keys.
---@param value any
---@return string? bytes, string? message, string? code
function payload.cbor(value) end

---The value of CBOR bytes, at most 1 MB and 65,536 items. Texts and byte strings are strings, null and undefined `iotix.json.null`,
---tags are dropped (whole numbers of any size become numbers), whole numbers over 2^53 lose digits.
---@param bytes string
---@return any value, string? message, string? code
function payload.from_cbor(bytes) end

---One line of CSV (RFC 4180) without a line break. `iotix.json.null` is an empty field, an empty text is `""`.
---@param fields { [integer]: any, delimiter?: string }
---@return string? line, string? message, string? code
function payload.csv(fields) end

---One line of the InfluxDB line protocol. Numbers are floats; whole ones are made by `payload.integer`. What is null is left out.
---@param point iotix.InfluxPoint
---@return string? line, string? message, string? code
function payload.influx(point) end

---@class iotix.InfluxPoint
---@field measurement string
---@field tags? table<string, any>
---@field fields table<string, any> at least one with a value
---@field time? number|false seconds since 1970 (default: now); false: the line has none
---@field precision? "ns"|"us"|"ms"|"s" unit of the time in the line (default "ns")

---Binary: `< >` endian (little at the start), `b B h H` whole numbers of 1 and 2 bytes, `i I` of 4, `l L` of 8, `i1`-`i8 I1`-`I8`,
---`f d` floats of 4 and 8 bytes, `s1 s2 s4` text behind its length, `z` text before a zero, `x` a zero byte. Capitals are
---unsigned. Numbers that do not fit raise.
---@param format string at most 256 characters
---@param ... number|string|iotix.Integer|iotix.Bytes
---@return string? bytes, string? message, string? code
function payload.pack(format, ...) end

---The values, then the position behind them. Bytes that end too early are nil, message, code.
---@param format string
---@param bytes string
---@param position? integer where to begin (default 1)
---@return any ...
function payload.unpack(format, bytes, position) end

---A payload of Sparkplug B. Births have names, types and, with `bd_seq`, the metrics bdSeq and Node Control/Rebirth; data has
---aliases where there are any. `{ death = true, bd_seq = n }` is the death of a node.
---@param message iotix.SparkplugMessage
---@return string? bytes, string? message, string? code
function payload.sparkplug(message) end

---@class iotix.SparkplugMessage
---@field metrics? iotix.SparkplugMetric[] of births and data
---@field seq? integer 0 to 255; data needs it, births have 0
---@field birth? boolean
---@field death? boolean
---@field bd_seq? integer of the node's connection
---@field timestamp? number seconds since 1970 (default: now)

---@class iotix.SparkplugMetric
---@field name? string births and metrics without an alias need it
---@field alias? integer
---@field type? "Int8"|"Int16"|"Int32"|"Int64"|"UInt8"|"UInt16"|"UInt32"|"UInt64"|"Float"|"Double"|"Boolean"|"String"|"DateTime"|"Text"|"UUID"|"Bytes" default: by the value
---@field value any
---@field timestamp? number

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

return iotix
