---@meta iotix
-- Devices, their connections and messages, tasks, state machines, behaviours from tables. See iotix.lua.

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
---@param options? iotix.PublishOptions
---@return boolean? ok, string? message, code? code
function dev:publish(topic, payload, options) end

---Subscribes and waits for the broker's answer. Messages go to `fn` (a task each), to `dev:on("message")` and to `dev:wait`.
---With `fn` it is subscribed again when the device connects again after `dev:disconnect`.
---With MQTT 5, what `fn` returns is published to the response topic of a message that has one, with its correlation.
---@param filter string
---@param options? { qos?: integer, no_local?: boolean, retain_as_published?: boolean, retain_handling?: integer, identifier?: integer } all but qos: MQTT 5
---@param fn? fun(message: iotix.Message): any
---@return boolean? ok, integer|string granted_qos_or_message, code? code
function dev:subscribe(filter, options, fn) end

---@param filter string
---@return boolean? ok, string? message, code? code
function dev:unsubscribe(filter) end

---Calls `fn` in a task of its own whenever that happens; at most 256 handlers a device. "command" subscribes, now or as soon as the
---device connects, the device's `command` topic; what the handler
---returns is published to `response` (a handler that raises answers { ok = false, error = … }). Of a device whose model has commands
---it gets those that no handler of the model carries out, parsed and checked (docs/reference/commands.md); the first function that was
---registered gives the answer: its result, or nil and what went wrong. "auth" is the enhanced authentication of MQTT 5 (`auth_method`):
---fn(data), nil at the beginning, returns this side's data, or nil and why not; it answers at once: nothing in it may block.
---@param event "command"|"message"|"connect"|"disconnect"|"auth"
---@param fn fun(subject?: iotix.Command|iotix.Message|string): any
---@return boolean? ok, string? message, code? code
function dev:on(event, fn) end

---Asks and waits for the answer, whatever its status; nil only when there is none. HTTP and CoAP: `method` (default GET, with a payload
---POST), `path` below the connection's URL, `headers` (CoAP: options by name). MQTT 5: `topic`, `payload`, `user`, `timeout`; the answer
---is the message that comes back. A table as payload goes out as JSON. HTTP has `query`, `form`, `redirects`, `retries` and `auth` beside
---these, CoAP `confirmable` and `block_size` (docs/reference/http.md, coap.md), adapters of plugins `options`.
---@param request { method?: string, path?: string, topic?: string, payload?: any, headers?: table, user?: table, content_type?: string, timeout?: duration, query?: table, form?: table[], redirects?: integer, retries?: integer|table, auth?: boolean, confirmable?: boolean, block_size?: integer, options?: table }
---@return iotix.Response? response, string? message, code? code
function dev:request(request) end

---@param path string
---@param options? table those of dev:request
---@return iotix.Response? response, string? message, code? code
function dev:get(path, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function dev:post(path, payload, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function dev:put(path, payload, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function dev:patch(path, payload, options) end

---@param path string
---@param options? table
---@return iotix.Response? response, string? message, code? code
function dev:delete(path, options) end

---CoAP only (RFC 8132).
---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function dev:fetch(path, payload, options) end

---Observes a resource of a CoAP server: `fn(response)` runs, a task each, for its state now and at each change; `fn(nil, message,
---code)` when the observation has ended by itself.
---@param path string
---@param options? { headers?: table, timeout?: duration }
---@param fn fun(response?: iotix.Response, message?: string, code?: code)
---@return iotix.Observation? observation, string? message, code? code
function dev:observe(path, options, fn) end

---The device answers requests for a path: over HTTP at an endpoint of its own (a webhook), over CoAP as a server that can be observed. What
---`fn` returns is the answer: nothing, text, a table as JSON, or { status =, body =, headers = } (other keys beside these are an error); nil and a text is a 400, an error a 500. `fn`
---may block. A path that ends in "/*" stands for what lies below it. nil in place of `fn` ends it.
---@param path string
---@param options? { observable?: boolean, confirmable?: boolean, rt?: string, interface?: string, title?: string, ct?: string|integer, sz?: integer, methods?: string[] }
---@param fn fun(request: iotix.Request): any, string?
---@return boolean? ok, string? message, code? code
function dev:serve(path, options, fn) end

---What is served at that path has changed: those who observe it are told (CoAP).
---@param path string
---@return boolean? ok, string? message, code? code
function dev:notify(path) end

---Where others reach what the device serves.
---@return string? url, string? message, code? code
function dev:served_at() end

---Opens another connection of the same device and waits until it stands, at most 16 beside its own. It has credentials of its own, or,
---with none at all, those of the group; the second connection of one protocol has "-2" behind the client id. It reconnects by itself, and
---is closed when the behaviour ends. `retry = false`: one attempt. `auth`: as dev:on("auth").
---@param connection iotix.Connection
---@param options? { timeout?: duration, retry?: boolean, auth?: fun(data?: string): string?, string? }
---@return iotix.Conn? conn, string? message, code? code
function dev:open(connection, options) end

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

---A connection that `dev:open` made. Its methods do what the device's of that name do. Handlers and waits end with it.
---@class iotix.Conn
---@field state "connecting"|"connected"|"reconnecting"|"closed"
---@field protocol? string "mqtt", "http", "coap" …; nil once it is closed
---@field url? string
local conn = {}

---@param topic string
---@param payload? string|table|number|boolean
---@param options? iotix.PublishOptions
---@return boolean? ok, string? message, code? code
function conn:publish(topic, payload, options) end

---@param filter string
---@param options? table
---@param fn? fun(message: iotix.Message): any
---@return boolean? ok, integer|string granted_qos_or_message, code? code
function conn:subscribe(filter, options, fn) end

---@param filter string
---@return boolean? ok, string? message, code? code
function conn:unsubscribe(filter) end

---@param event "message"|"connect"|"disconnect"|"auth"
---@param fn function
---@return boolean? ok, string? message, code? code
function conn:on(event, fn) end

---@param event "message"|"connect"|"disconnect"
---@param timeout? duration
---@return iotix.Message|boolean|nil subject, string? message, code? code
function conn:wait(event, timeout) end

---@param request table as of dev:request
---@return iotix.Response? response, string? message, code? code
function conn:request(request) end

---@param path string
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:get(path, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:post(path, payload, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:put(path, payload, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:patch(path, payload, options) end

---@param path string
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:delete(path, options) end

---@param path string
---@param payload? any
---@param options? table
---@return iotix.Response? response, string? message, code? code
function conn:fetch(path, payload, options) end

---@param path string
---@param options? table
---@param fn function
---@return iotix.Observation? observation, string? message, code? code
function conn:observe(path, options, fn) end

---@param path string
---@param options? table
---@param fn function
---@return boolean? ok, string? message, code? code
function conn:serve(path, options, fn) end

---@param path string
---@return boolean? ok, string? message, code? code
function conn:notify(path) end

---@return string? url, string? message, code? code
function conn:served_at() end

---Closes it: what is not acknowledged has two seconds, "abrupt": none, and no goodbye.
---@param mode? "graceful"|"abrupt"
---@return boolean was_open
function conn:close(mode) end

---@class iotix.PublishOptions
---@field qos? integer
---@field retain? boolean
---@field wait? boolean QoS 1 and 2: until it is acknowledged
---@field user? table<string, string|string[]>|string[][] MQTT 5: user properties, by name or as a list of { name, value } in order
---@field content_type? string MQTT 5
---@field response_topic? string MQTT 5; as a topic of publish
---@field correlation? string MQTT 5
---@field expiry? duration MQTT 5, rounded up to seconds
---@field alias? boolean MQTT 5: with a topic alias, as far as the server allows
---@field payload_text? boolean MQTT 5: says that the payload is UTF-8 text

---@class iotix.Message
---@field topic string
---@field payload string
---@field qos integer
---@field retain boolean
---@field json any the payload decoded when first asked for; false when it is not JSON
---@field user? table<string, string|string[]> MQTT 5; a name that comes more than once has a list
---@field content_type? string MQTT 5
---@field response_topic? string MQTT 5
---@field correlation? string MQTT 5
---@field expiry? integer MQTT 5: seconds left
---@field payload_text? boolean MQTT 5
---@field subscription_ids? integer[] MQTT 5

---What a request returns. Of MQTT 5: `body` and `payload`, `user` in place of `headers`, no status.
---@class iotix.Response
---@field status integer HTTP's; of CoAP 205 stands for 2.05
---@field ok boolean status 200 to 299
---@field code? string CoAP: "2.05"
---@field body string
---@field headers table<string, string|string[]> names in lower case; CoAP: options
---@field latency number seconds, retries included
---@field attempts integer 1: the first one did
local response = {}
---The body decoded.
---@return any value, string? message
function response:json() end

---What the function of `dev:serve` gets.
---@class iotix.Request
---@field method string
---@field path string without the query
---@field query string "" when there is none
---@field payload string
---@field headers table<string, string|string[]> names in lower case
---@field json any the payload decoded; false when it is not JSON

---@class iotix.Observation
local observation = {}
---@return boolean went_on
function observation:cancel() end
---@return boolean
function observation:active() end

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
