---@meta iotix
-- Generators of values, JSON, payloads. See iotix.lua.

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

---@class iotix.metrics
---A scenario's own metrics. Declare them at the top of the scenario, record them in behaviours and in the test: they are in the summary,
---in thresholds (a misspelt name, aggregate or unit is found by `--check`) and wherever the product's own go. Names begin with
---`user_`; what a device records carries its group as a tag. One metric has at most 1,000 sets of tags a shard: what comes after
---them is in `NAME{overflow:true}`, and the summary says so.
local metrics = {}

---@class iotix.MetricOptions
---@field tags? table<string, string> of all that it records
---@field unit? "time"|"bytes" counters, gauges and trends: what it measures (default: a plain number). Times are durations
---@field merge? "sum"|"max" gauges: how those of several shards become one (default "sum")

---A sum that only grows: `orders:add()`, `orders:add(3, { kind = "web" })`; whole numbers.
---@param name string
---@param o? iotix.MetricOptions
---@return iotix.Metric
function metrics.counter(name, o) end

---A value that goes up and down: `level:set(v)`, `level:add(v)`. The devices of a group on one shard share it.
---@param name string
---@param o? iotix.MetricOptions
---@return iotix.Metric
function metrics.gauge(name, o) end

---How many of the samples were true: `good:add(ok)`.
---@param name string
---@param o? iotix.MetricOptions
---@return iotix.Metric
function metrics.rate(name, o) end

---A distribution of whole numbers from 0 to 3,600,000,000 (an hour in microseconds): `took:add("20ms")` with unit = "time", else
---`size:add(512)`. Fractions are rounded.
---@param name string
---@param o? iotix.MetricOptions
---@return iotix.Metric
function metrics.trend(name, o) end

---@class iotix.Metric
local metric = {}

---Adds: to a counter (1 where it is left out) or a gauge, a sample to a rate or a trend.
---@param value? number|string|boolean
---@param tags? table<string, string|number> beside its own: makes a series of its own
function metric:add(value, tags) end

---Sets a gauge.
---@param value number|string
---@param tags? table<string, string|number>
function metric:set(value, tags) end
