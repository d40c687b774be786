---@meta iotix
-- Where messages go beside the servers that devices speak to. See iotix.lua.

---Sinks: where the messages of devices, their events and figures of the engine go beside the servers that the devices speak to. What
---these functions make belongs into `sinks` of a scenario (docs/reference/sinks.md).
---@class iotix.sinks
local sink = {}

---InfluxDB 1.x, 2.x and 3.x.
---@param options iotix.InfluxOptions|string a table, or the URL
---@return iotix.Sink
function sink.influx(options) end

---A file of one JSON object a line for each message.
---@param options iotix.FileSinkOptions|string a table, or the path
---@return iotix.Sink
function sink.ndjson(options) end

---A file of comma-separated values.
---@param options iotix.FileSinkOptions|string a table, or the path
---@return iotix.Sink
function sink.csv(options) end

---A file of InfluxDB's line protocol.
---@param options iotix.FileSinkOptions|string a table, or the path
---@return iotix.Sink
function sink.line_protocol(options) end

---@class iotix.Sink what a function of iotix.sink returns

---@class iotix.InfluxOptions
---@field url string where it listens: "http://127.0.0.1:8086"
---@field name? string of the sink, in metrics and the summary (default "influx")
---@field api? 1|2 1 for versions 1.x, 2 for 2.x and 3.x (default: 2 with a bucket, else 1)
---@field database? string versions 1.x, needed
---@field retention_policy? string versions 1.x: into which it is written (default: the database's own)
---@field org? string versions 2.x
---@field bucket? string versions 2.x and 3.x, needed
---@field token? string versions 2.x and 3.x
---@field token_ref? string name of a secret in its place (--secrets, IOTIX_SECRET_NAME)
---@field username? string versions 1.x
---@field password? string versions 1.x
---@field password_ref? string name of a secret in its place
---@field create? boolean whether the database or bucket is made when it is not there (default true)
---@field retention? duration of what is made (default: for ever)
---@field measurement? string of messages (default "telemetry")
---@field tags? table<string,string> further tags of every point
---@field events? boolean whether events of devices and connections are written too (default true)
---@field stats_interval? duration how often figures of the engine are written (default "5s")
---@field gzip? boolean whether batches are compressed (default true)
---@field batch? integer lines of a batch, 1 to 100,000 (default 5,000)
---@field flush? duration the longest that a line waits for its batch (default "1s")
---@field connections? integer requests at once, 1 to 8 (default 2)
---@field timeout? duration of a request (default "10s")
---@field memory? string|integer what may wait in memory in each shard (default "64MB")
---@field spill? string|false directory for what waits beyond half of that, and for lines that were refused (default "iotix-spill"); false: nowhere
---@field spill_max? string|integer what may wait on disk in each shard (default "1GB")
---@field full? "block"|"drop" what happens when both are full: devices cannot publish, or records are lost and counted (default "block")
---@field ca? string path of a CA's certificate
---@field cert? string path of a certificate of our own
---@field key? string path of its key
---@field verify? boolean whether the server's certificate is checked (default true)

---@class iotix.FileSinkOptions
---@field path string with several shards each writes one of its own: "out.ndjson" becomes "out-0.ndjson", "out-1.ndjson" …; in virtual time there is always one
---@field name? string of the sink, in metrics and the summary (default: its type)
---@field rotate_size? string|integer a file that is so large is put aside as "out.ndjson.1", the next one as ".2" …
---@field rotate_age? duration a file that is so old, likewise
---@field keep? integer how many of those are kept (default: all)
---@field events? boolean ndjson: events of devices too (default false)
---@field memory? string|integer what may wait while the disk is full, in each shard (default "16MB")
---@field full? "block"|"drop" what happens when that is full (default "block")
