---@meta iotix
-- The public library as annotations (LuaCATS): for editors, and the source of docs/reference/scenario-api.md.
-- Durations are strings with a unit ("250us", "500ms", "5s", "2m", "1h", "1m30s") or numbers of seconds.
-- Failures of the world return `nil, message, code`; mistakes of the author raise, at the author's line.

---@class iotix
---@field version string version of iotix
---@field args string[] what stands behind `--` on the command line; a list of its own for every process
---@field gen iotix.gen
---@field metrics iotix.metrics
---@field json iotix.json
---@field payload iotix.payload
---@field expect iotix.expect
---@field behaviour iotix.behaviour
---@field link iotix.links
---@field sink iotix.sinks
local iotix = {}

---@alias duration string|number a duration: "500ms", "5s", "2m"; a number is seconds
---@alias code "invalid"|"not_found"|"limit"|"no_memory"|"io"|"resolve"|"refused"|"closed"|"timeout"|"protocol"|"state"|"cancelled"|"tls"|"unsupported" why the world failed

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
---@field connection? iotix.Connection what `iotix.mqtt`, `iotix.http` or `iotix.coap` returns; default: the scenario's
---@field id? string pattern of device ids (default "${groupId}-${index}")
---@field topics? string pattern of the base below which relative topics hang (default "${groupId}/${deviceId}")
---@field qos? integer default QoS of this group's publishes (default: the model's, else 0)
---@field on_error? "stop"|"restart"|"fail" what an error of a behaviour means (default "stop": this device only)
---@field stamp? "property"|"topic"|{ payload: string } what its messages carry, so that `e2e_latency` is known: a user property of MQTT 5 (a header of HTTP), one more level of the topic, or a member of that name in a JSON object; default: the scenario's
---@field max_restarts? integer of one device with on_error = "restart" (default 10)
---@field memory? string|integer cap of a device's Lua memory (default "1MB", at least 16KB)
---@field tags? table<string,string> free tags
---@field handlers? table<string,function> what the model names as handlers; see iotix.HookContext
---@field data? iotix.Data what `iotix.data` returns: one row of a file for each device

---Which physical device a proxy stands for (docs/how-to/proxies.md). Texts are patterns that know `${proxyIndex}`, from 1 on, too.
---@class iotix.ProxyOptions
---@field source? "mqtt"|"coap"|"http" it publishes to a broker (default), has a resource that is observed, or calls a webhook
---@field topic? string mqtt, needed: filter of what the physical device publishes: "plant/press/#"
---@field broker? string mqtt: URL of its broker, mqtt:// or mqtts:// (default: the run's)
---@field commands? string mqtt: topic to which commands for the proxy are passed on
---@field qos? integer mqtt: of the subscription and of commands (default 0)
---@field url? string coap, needed: what is observed: "coap://press-1.plant/temperature"
---@field path? string http: path of the webhook (default "/")
---@field listen? string http: where webhooks are listened for (default "127.0.0.1:0": any free port)
---@field id? string the device's id (default: the group's pattern)
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
---@field http? string|iotix.Connection "embedded", a URL or what iotix.http returns: for models and connections of HTTP that name none
---@field coap? string|iotix.Connection the same for CoAP
---@field connection? iotix.Connection for every group without one of its own
---@field thresholds? table<string, string|iotix.Threshold|table> limits by metric: { publish_latency = "p95 < 200ms" }
---@field timeline? iotix.Experiment[] what goes wrong, and when: iotix.chaos
---@field test? fun(run: iotix.Run) runs beside the devices, in a process of its own
---@field setup? fun(run: iotix.Run): any runs before the first device starts; what it returns (plain data, at most 1 MB of JSON) is what iotix.setup_data gives
---@field teardown? fun(run: iotix.Run) runs when all devices are gone, however the run went, unless setup failed
---@field setup_timeout? duration exit code 100 past it (default "60s")
---@field teardown_timeout? duration exit code 101 past it (default "60s")
---@field stages? iotix.RunStage[] named times of the run, at most 32: the launch plan of groups that have none of their own, and the duration without one
---@field warmup? duration so much of the begin is left out of all statistics and thresholds
---@field baseline? string file beside the scenario: the summary JSON of an earlier run, for thresholds such as "p95 < baseline + 10%" (--baseline goes before it)
---@field seed? integer seed of all randomness (default: random, printed in the summary)
---@field stamp? "property"|"topic"|{ payload: string } for every group without one of its own
---@field ledger? true|iotix.Ledger accounts for the messages that groups publish over MQTT: which were lost, came twice, out of order or late
---@field sinks? iotix.Sink[] where the messages of devices go beside their servers: what `iotix.sink` makes
---@field stop_timeout? duration how long the end may take to drain (default "30s")
---@field on_shard_lost? "restart"|"fail" what a shard that was killed means (default "restart")
---@field options? table defaults for flags of iotix-run: shards, progress, summary, log_level …

---@class iotix.Ledger
---@field groups? string|string[]|iotix.Group[] whose messages (default: all groups')
---@field stamp? "property"|"topic"|{ payload: string } how they are numbered, for groups without a `stamp`; default with MQTT 5: "property"
---@field late? duration beyond it an arrived message counts as late, and so long the end waits for what is missing (default "5s")
---@field topics? string|string[] what the ledger subscribes to: topic filters that do not overlap (default: below the `topics` of the groups)
---@field username? string of the ledger's own client (default: the groups', where it is no pattern)
---@field password? string

---@class iotix.RunStage
---@field name? string as thresholds name it, { ["publish_latency{stage:peak}"] = … } (default "stage-1", …)
---@field duration duration
---@field devices integer|string devices that are up at its end, of all groups without a launch plan; in between their number changes linearly

---@class iotix.Threshold
---@field [1] string aggregate, comparison, limit: "p99 < 2s", "rate < 1%", "count > 1000", "p95 < baseline + 10%"
---@field abort? boolean end the run when it fails
---@field delay_abort? duration not before that much of the run has passed
---@field no_data? "fail"|"pass" what no samples mean (default "fail", or "pass" with --fail-on-no-data=false)

---Devices wait until `n` of them, of all shards, are here; with "all" the devices of the group. Then all go on, and the next who come
---wait for the next round. In behaviours only; not in virtual time.
---@param name string
---@param n? integer|"all" (default "all")
---@param timeout? duration (default "30s")
---@return boolean? ok, string? message, code? code
function iotix.barrier(name, n, timeout) end

---What the scenario's `setup` returned, or the part of it that keys and indices lead to; a copy. nil: there is no such thing. In
---behaviours, the test and teardown.
---@param ... string|integer such as "tokens", dev.index
---@return any
function iotix.setup_data(...) end

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

---How devices connect over MQTT 3.1.1 or 5. docs/reference/mqtt.md says what each option means on the wire.
---@param connection iotix.MqttOptions
---@return iotix.Connection
function iotix.mqtt(connection) end

---What iotix.mqtt, iotix.http, iotix.coap and iotix.connection return: for `connection =` of a group or a scenario, and for `dev:open`.
---It may be made while the run is on, with what a server has told the device.
---@class iotix.Connection

---What connections of all protocols have: beside it, each its own.
---@class iotix.ConnectionOptions
---@field username? string pattern
---@field password? string pattern
---@field token? string pattern of a bearer token (HTTP, CoAP)
---@field jwt? iotix.JwtOptions a token signed for each device, in place of the password (MQTT) or as bearer token
---@field tls? iotix.TlsOptions for mqtts, wss, https, coaps
---@field timeout? duration of a request (default "30s")
---@field connect_timeout? duration until the connection stands (default "10s")
---@field connect_window? integer handshakes under way at once in a shard (default 64)
---@field connect_rate? number connects a second, of all shards (default: no limit)
---@field connect_pacing? "fixed"|"adaptive"|table adaptive slows down when the server answers late: { target = "200ms", min_rate = 1, max_failures = 0.1 }
---@field source? string|string[] source addresses: one, a network, a range or a list of those (default: spread over 127.0.0.2-31 to loopback when there are many)

---Texts of PEM are the text itself or a path beside the scenario; where a pattern is allowed, `${data.COLUMN}` takes it from the data file.
---@class iotix.TlsOptions
---@field ca? string PEM text, file or directory of trusted CAs (default: the system's; the run's own for embedded targets)
---@field cert? string pattern: certificate of the device, with its chain
---@field key? string pattern: its key
---@field psk? table { identity =, key = }: patterns; the key in hex digits
---@field mint? table { ca =, ca_key =, name = "${deviceId}", days = 30, algorithm = "EC"|"RSA", subject = }: a certificate for each device, signed by that CA
---@field server_name? string in place of the URL's host, for SNI and verification
---@field verify? boolean (default true)
---@field alpn? string[]
---@field min_version? "1.2"|"1.3" (default "1.2")
---@field max_version? "1.2"|"1.3"
---@field ciphers? string of TLS 1.2, as OpenSSL lists them
---@field ciphersuites? string of TLS 1.3
---@field resume? boolean resume the session when the same connection is made again (default true)

---@class iotix.JwtOptions
---@field algorithm "HS256"|"RS256"|"ES256"
---@field key string HS256: the secret, or "base64:…"; else PEM text or the path of the private key. A pattern
---@field key_id? string pattern: header "kid"
---@field claims? table<string, any> texts are patterns; iat and exp are added
---@field ttl? duration of a token (default "1h", at least "5s")
---@field refresh? number share of ttl after which a connection is made anew with a new token (default 0.8; 0: never)
---@field as? "password"|"token" (default: password over MQTT, token else)

---Beside these all of iotix.ConnectionOptions. Options that only MQTT 5 has are errors with another version.
---@class iotix.MqttOptions: iotix.ConnectionOptions
---@field broker? string URL: mqtt, mqtts, ws or wss; host "embedded": the run's own (default: the scenario's)
---@field version? "3.1.1"|"5" (default "3.1.1")
---@field client_id? string pattern (default: the model's clientIdPattern, else "${deviceId}")
---@field keep_alive? duration whole seconds (default "60s")
---@field clean_session? boolean (default true)
---@field reconnect? boolean|table { initial = "1s", max = "60s", factor = 2, jitter = true, attempts = 0 }
---@field inflight? integer QoS 1 and 2 messages without an answer, per device (default 20)
---@field queue? table { max = 100, bytes = "256KB", full = "reject" | "drop_oldest" }: messages that wait, per device
---@field will? table { topic =, payload =, qos =, retain = }; topic and payload are patterns. MQTT 5: delay, expiry, content_type, response_topic, correlation, user
---@field max_packet? string|integer largest packet accepted (default "1MB")
---@field websocket? table { path = "/mqtt", headers = {}, max_frame = "1MB" } for ws and wss
---@field session_expiry? duration|"never" MQTT 5 (default 0; "never" with clean_session = false)
---@field receive_maximum? integer MQTT 5: QoS 1 and 2 messages the server may have on its way (default 65535)
---@field topic_alias_maximum? integer MQTT 5: aliases the server may use (default 0)
---@field topic_aliases? boolean MQTT 5: use as many of the server's as it allows, for every topic (default false)
---@field user_properties? table<string, string|string[]> MQTT 5: of CONNECT
---@field request_response_info? boolean MQTT 5 (default false)
---@field request_problem_info? boolean MQTT 5 (default true)
---@field follow_redirect? boolean MQTT 5: to the server a server names (default true)
---@field auth_method? string MQTT 5: enhanced authentication, answered by dev:on("auth", fn)
---@field response_topic? string MQTT 5: base of the topics that answers to dev:request come to (default "iotix/responses")

---How devices talk to a server over HTTP. docs/reference/http.md. Beside these all of iotix.ConnectionOptions.
---@param connection iotix.HttpOptions
---@return iotix.Connection
function iotix.http(connection) end

---@class iotix.HttpOptions: iotix.ConnectionOptions
---@field url? string http or https, with a base path; host "embedded": the run's own (default: the scenario's http, else that)
---@field version? "auto"|"1.1"|"2" (default "auto")
---@field headers? table<string, string> of every request
---@field auth? "none"|"basic"|"bearer" (default: bearer with a token, basic with a username)
---@field client_id? string pattern
---@field stall_timeout? duration without a byte (default: off)
---@field serve_timeout? duration how long a client of dev:serve waits (default "10s")
---@field keep_alive? duration idle connections live that long (default "60s")
---@field retries? integer|table { max = 0, initial = "500ms", max_delay = "30s", factor = 2, jitter = true, on = { 408, 429, 500, 502, 503, 504, "network" } }
---@field redirects? integer 0 to 50 (default 5)
---@field compression? boolean (default true)
---@field max_connections? integer of a target and shard, shared by its devices (default 0: one for each device)
---@field max_response? string|integer (default "1MB")
---@field max_request? string|integer (default "16MB")
---@field queue? integer requests of a device that wait or run (default 100)
---@field allow_absolute? boolean requests may name a URL of another server (default false)
---@field publish? table { method = "POST"|"PUT"|"PATCH", content_type = }: what dev:publish does
---@field probe? string path: the device is online once that answered 2xx
---@field commands? table { mode = "poll"|"serve", path =, interval = "1s", wait = "30s", listen = "127.0.0.1:0" }: how dev:subscribe and commands work

---How devices talk to a server over CoAP. docs/reference/coap.md. Beside these all of iotix.ConnectionOptions.
---@param connection iotix.CoapOptions
---@return iotix.Connection
function iotix.coap(connection) end

---@class iotix.CoapOptions: iotix.ConnectionOptions
---@field url? string coap, coaps, coap+tcp or coaps+tcp; host "embedded": the run's own (default: the scenario's coap, else that)
---@field confirmable? boolean (default true)
---@field ack_timeout? duration (default "2s")
---@field ack_random_factor? number (default 1.5)
---@field max_retransmit? integer (default 4)
---@field nstart? integer exchanges at a time (default 1)
---@field probing_rate? number bytes a second
---@field block_size? integer 16 to 1024 (default 1024)
---@field max_response? string|integer
---@field queue_max? integer requests that wait
---@field client_id? string pattern; also the endpoint's name in a resource directory
---@field probe? boolean online once the server answered an empty message
---@field keep_alive? duration of TCP and DTLS
---@field reconnect? boolean|table as of iotix.mqtt
---@field publish? table { method = "POST", content_format = }: what dev:publish does
---@field observe? table { reregister = true }
---@field serve? table { listen = "127.0.0.1:0", timeout = } of dev:serve
---@field resource_directory? table { url =, endpoint =, lifetime =, sector = } where what is served is registered

---A connection of an adapter that a plugin or the scenario itself brings; its options go to it as they are. Beside these all of
---iotix.ConnectionOptions.
---@param connection { url: string, options?: table, client_id?: string, reconnect?: boolean|table }
---@return iotix.Connection
function iotix.connection(connection) end

---A protocol written in Lua; docs/how-to/write-a-plugin.md shows one. Returns what makes connections of it: they take `url`, the
---adapter's own options, `client_id`, `reconnect` and all of iotix.ConnectionOptions but `timeout`.
---@param adapter iotix.AdapterOptions
---@return fun(connection: table): iotix.Connection
function iotix.adapter(adapter) end

---Functions of an adapter return a true value when it is done, else nil, message, code. They may block.
---@class iotix.AdapterOptions
---@field name string at most 15 of a-z 0-9 + - .
---@field schemes? string[] URL schemes, 1 to 4 (default: the name)
---@field default_port? integer of a URL without one
---@field options? table<string, string> names and types of its own options: { greeting = "string" }
---@field connect fun(conn: iotix.AdapterConn): any true: the device is online
---@field publish fun(conn: iotix.AdapterConn, message: iotix.Message): any
---@field subscribe? fun(conn: iotix.AdapterConn, filter: string, qos: integer): any a number is the granted QoS (default: granted as it is)
---@field unsubscribe? fun(conn: iotix.AdapterConn, filter: string): any
---@field disconnect? fun(conn: iotix.AdapterConn) before it is closed; one second at most
---@field request? fun(conn: iotix.AdapterConn, request: iotix.AdapterRequest): any for dev:request, dev:get …: a text or an iotix.AdapterResponse; each call is a task of its own
---@field observe? fun(conn: iotix.AdapterConn, request: iotix.AdapterRequest, tell: function): any for dev:observe: `tell(response)` for each notification, which returns whether it is still wanted; it ends with the function
---@field serve? fun(conn: iotix.AdapterConn, path: string, attributes: table): any for dev:serve; called at every connect, too
---@field unserve? fun(conn: iotix.AdapterConn, path: string): any
---@field notify? fun(conn: iotix.AdapterConn, path: string): any for dev:notify

---@class iotix.AdapterRequest
---@field method string "GET"
---@field path string with its query
---@field payload string
---@field headers table<string, string|string[]>
---@field options table what the device gave as `options`

---@class iotix.AdapterResponse
---@field status? integer (default 200)
---@field body? string
---@field headers? table<string, string|string[]>

---A connection as the functions of its adapter see it. Other fields are the adapter's own.
---@class iotix.AdapterConn
---@field url table scheme, host, port, path, user, password
---@field options table the adapter's own options
local adapterconn = {}

---A text of the device's identity; nil: it has none.
---@param name "client_id"|"username"|"password"|"token"|"will_topic"|"will_payload"
---@return string?
function adapterconn:field(name) end

---A TCP link to where the URL says, with the connection's `tls` and `source`.
---@return iotix.Link? link, string? message, code? code
function adapterconn:dial() end

---The same over UDP.
---@return iotix.Link? link, string? message, code? code
function adapterconn:dial_datagram() end

---A message for the device. At most 1,000 in a turn.
---@param topic string
---@param payload? string
---@param options? { qos?: integer, retain?: boolean }
---@return boolean? ok, string? message, code? code
function adapterconn:message(topic, payload, options) end

---Somebody asks what the device serves: waits for its answer.
---@param request { method?: string, path: string, payload?: string, headers?: table, timeout?: duration }
---@return iotix.AdapterResponse? response, string? message, code? code
function adapterconn:ask(request) end

---Where others reach what the device serves.
---@param url string
function adapterconn:serves_at(url) end

---The connection is lost.
---@param message? string
---@param code? code
function adapterconn:offline(message, code) end

---A task that ends with the connection.
---@param fn function
---@param ... any
---@return iotix.Task
function adapterconn:spawn(fn, ...) end

---Waits until another task of the connection wakes this key; returns its value.
---@param key any
---@param timeout? duration
---@return any value, string? message, code? code
function adapterconn:wait(key, timeout) end

---Wakes who waits for a key. Returns whether somebody did.
---@param key any
---@param value? any (default true)
---@return boolean
function adapterconn:wake(key, value) end

---Streams and datagrams of a device's own, for protocols that iotix does not speak.
---@class iotix.links
local links = {}

---A TCP connection. Blocks until it is up. At most 16 links a device.
---@param options { host: string, port: integer, tls?: iotix.TlsOptions|boolean, source?: string|string[], timeout?: duration }
---@return iotix.Link? link, string? message, code? code
function links.connect(options) end

---A UDP socket that talks to one peer.
---@param options { host: string, port: integer, source?: string|string[] }
---@return iotix.Link? link, string? message, code? code
function links.datagram(options) end

---A link. It is closed with the device (or the adapter's connection) that opened it.
---@class iotix.Link
local link = {}

---n bytes, or without n what has come, one at least.
---@param n? integer up to 1,048,576
---@param timeout? duration (default: none)
---@return string? bytes, string? message, code? code
function link:read(n, timeout) end

---A line without its end, "\n" or "\r\n". At most 64 KB.
---@param timeout? duration (default: none)
---@return string? line, string? message, code? code
function link:read_line(timeout) end

---Queues bytes; they go out at the end of the turn. `limit`: 1 MB waits already.
---@param bytes string
---@return boolean? ok, string? message, code? code
function link:write(bytes) end

---Waits until everything is written.
---@param timeout? duration (default: none)
---@return boolean? ok, string? message, code? code
function link:flush(timeout) end

---Queues a datagram. `limit`: larger than 65,507 bytes, or 256 KB wait already.
---@param bytes string
---@return boolean? ok, string? message, code? code
function link:send(bytes) end

---The next datagram. `refused`: nobody listens where the last one went.
---@param timeout? duration (default: none)
---@return string? bytes, string? message, code? code
function link:receive(timeout) end

---Writes what is queued as far as it goes, and ends.
function link:close() end

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

return iotix
