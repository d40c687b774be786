---@meta iotix
-- The public library as annotations (LuaCATS): for editors, and the source of docs/reference/scenario-api.md.
-- Durations are strings with a unit ("250us", "500ms", "5s", "2m", "1h", "1m30s") or numbers of seconds.
-- Failures of the world return `nil, message, code`; mistakes of the author raise, at the author's line.

---@class iotix
---@field version string version of iotix
---@field args string[] what stands behind `--` on the command line; a list of its own for every process
---@field gen iotix.gen
---@field json iotix.json
---@field expect iotix.expect
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
---@field count? integer|string number of devices, 1 to 10,000,000; "10k" works (default 1)
---@field model? string name of a model ("temperature-sensor") or a path beside the scenario
---@field behaviour? fun(dev: iotix.Device) runs as a coroutine of its own for every device
---@field launch? iotix.LaunchOptions when the devices start (default all at once)
---@field connection? iotix.Connection what `iotix.mqtt` returns; default: the scenario's
---@field id? string pattern of device ids (default "${groupId}-${index}")
---@field topics? string pattern of the base below which relative topics hang (default "${groupId}/${deviceId}")
---@field qos? integer default QoS of this group's publishes (default: the model's, else 0)
---@field on_error? "stop"|"restart"|"fail" what an error of a behaviour means (default "stop": this device only)
---@field max_restarts? integer of one device with on_error = "restart" (default 10)
---@field memory? string|integer cap of a device's Lua memory (default "1MB", at least 16KB)
---@field tags? table<string,string> free tags

---@class iotix.LaunchOptions
---@field strategy "immediate"|"linear"|"batch"|"exponential"
---@field rate? number linear: devices a second
---@field delay? duration linear: between devices; batch: between batches; exponential: the first delay
---@field batch_size? integer batch: devices a batch
---@field max_delay? duration exponential: longest delay
---@field base? number exponential: growth of the delay

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
---returns is published to `response` (a handler that raises answers { ok = false, error = … }).
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

---@class iotix.Command
---@field name string "" when the message named none
---@field params table
---@field id any
---@field topic string
---@field payload string
---@field json table

---@class iotix.Task
local task = {}
---@return boolean was_alive
function task:cancel() end
---@return boolean
function task:alive() end

---Value generators; a device may be the first to use 100 different specifications. Calling one draws the next value from the generator of the device that calls it, so that the same seed gives
---the same values on any number of shards.
---@class iotix.gen
local gen = {}

---@param o { min: number, max: number }
---@return fun(): number
function gen.uniform(o) end

---@param o { mean: number, stddev: number, min?: number, max?: number } clamped to min and max
---@return fun(): number
function gen.normal(o) end

---@param o { mean?: number, rate?: number, min?: number, max?: number }
---@return fun(): number
function gen.exponential(o) end

---Random walk: every step is uniform in [-step, step], reflected at min and max.
---@param o { start?: number, step: number, min?: number, max?: number }
---@return fun(): number
function gen.walk(o) end

---start, start + step, … or the listed values one after another.
---@param o { start?: number, step?: number, min?: number, max?: number, wrap?: boolean, values?: any[] }
---@return fun(): any
function gen.sequence(o) end

---@param value any
---@return fun(): any
function gen.constant(value) end

---@param o { values: any[], weights?: number[] }
---@return fun(): any
function gen.choice(o) end

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
---@param state? "count"|"started"|"online"|"connecting"|"running"|"error"|"ever_online"|"stopped"|"created"
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
